"""SORA (Teymourian et al., 2026): a random step whose size follows how linear the loss is along it.

    n = P01(U(-eps, eps));   d = P01(n + A r sign g(n)),  A = 2 eps min(1, 0.02 / (1 - R))
    theta <- theta - alpha grad mean CE(x + d)
    R <- 0.95 R + 0.05 rho,  rho = mean <sign g(n), g(d)> / |g(n)|_1 over the batch's images, cut to [-1, 1]

r = U(0, 1) is one number a coordinate. The backward pass that trains the weights gives g(d), too. R starts at 0.99. P01
clips to the images' box, and nothing is clipped to the eps ball. The authors' alarm for collapse, PertAlign, the mean
cosine of g(n) and g(d), is in the trainer, for every method.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastbat.attacks.gradient import input_gradient
from fastbat.errors import InputError, check_weight
from fastbat.geometry import Box, check_eps
from fastbat.lazy import Tensor, nn
from fastbat.methods.method import Batch, Method, Traits, grad_of, load_memory, memory_state, training_loss
from fastbat.randomness import uniform_like

START = 0.99  # of R


@dataclass(frozen=True)
class Sora(Method):
    """SORA: one random step, as long as the loss is linear along it.

    BatchNorm sees two passes, at n and at d.
    """

    eps: float
    step_ratio: float = 2.0
    """Largest size of the step, in units of eps."""
    curvature: float = 0.02
    """How far R may be from 1 while the step keeps its largest size."""
    decay: float = 0.95
    """What of R is left after an update, from 0 to 1."""
    memory: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    state_dict, load_state_dict = memory_state, load_memory

    def __post_init__(self) -> None:
        check_eps(self.eps)
        for name in ("step_ratio", "curvature"):
            check_weight(name, getattr(self, name))
        if not 0 <= self.decay <= 1:
            raise InputError(f"decay is {self.decay:g}; it must lie in [0, 1]")

    @property
    def traits(self) -> Traits:
        """It remembers how linear the loss was."""
        return Traits(memory={"linearity": "all"})

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(x + d); its backward pass gives g(d), and R takes its step."""
        x, y, image = batch.x, batch.y, Box(batch.x, 1.0)
        linear = self.memory.get("linearity", x.new_full((), START))
        step = self.step_ratio * self.eps * (self.curvature / (1 - linear).clamp_min(1e-12)).clamp(max=1)
        start = image.project(self.eps * uniform_like(x))
        g = input_gradient(model, x, y, start)
        delta = image.project(start + step * (0.5 + 0.5 * uniform_like(x)) * g.sign()).requires_grad_()
        yield training_loss(model(x + delta), batch)
        after = len(x) * grad_of(delta)  # the loss is a mean
        rho = (g.sign() * after).flatten(1).sum(1) / g.abs().flatten(1).sum(1).clamp_min(1e-12)
        rho = batch.averaged(rho.mean()).clamp(-1, 1)
        self.memory["linearity"] = self.decay * linear + (1 - self.decay) * rho
        batch.log.update(step_255=255 * step, rho=rho)
