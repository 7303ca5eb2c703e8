"""FGSM-MEP (Jia et al., 2022), the form of FGSM-PGI in use: each image's step starts where its last ones led.

    d = P(D + eps sign g),  g = grad l(f(x + D), y);   m <- g / |g|_1 + 0.3 m;   D <- P(D + eps sign m)
    theta <- theta - alpha grad [ l(f(x + d), y) + 10 mean (f(x + d) - f(x + D))^2 ]

l is CE to a target with 0.6 on the true class and 0.4 / (K - 1) on each other, |g|_1 the norm over the whole batch, the
mean over images and logits; its gradient passes through both logits. D and m are kept of every image. They start at
eps sign U(-1, 1) and 0, and again after every 40 epochs. Neither is moved with crop and flip, and D is not projected
before its step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastbat.attacks.gradient import logits_and_gradient
from fastbat.data.images import sent
from fastbat.errors import InputError, check_count, check_weight
from fastbat.geometry import Box, check_eps
from fastbat.lazy import F, Tensor, nn, torch
from fastbat.methods.method import Batch, Method, Traits, load_memory, memory_state
from fastbat.methods.per_image import grown
from fastbat.methods.targets import check_share, relaxed, target_loss, toward
from fastbat.randomness import uniform_like


@dataclass(frozen=True)
class FgsmMep(Method):
    """FGSM-MEP: each image's step starts where its earlier ones led, and may not move its logits.

    Needs each image's index. BatchNorm sees two passes, at x + D and at x + d. The memory holds two float32 images an
    image.
    """

    eps: float
    target_mass: float = 0.6
    """Share of each target on the true class; the other classes share the rest."""
    consistency: float = field(default=10.0, metadata={"published": 10.0})
    """Weight of the mean squared change of the logits."""
    decay: float = 0.3
    """What of an image's momentum is left in its next epoch."""
    reset: int = 40
    """After every N epochs an image's perturbation and momentum start again."""
    memory: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    state_dict, load_state_dict = memory_state, load_memory

    def __post_init__(self) -> None:
        check_eps(self.eps)
        check_share("target_mass", self.target_mass)
        for name in ("consistency", "decay"):
            check_weight(name, getattr(self, name))
        check_count("reset", self.reset)

    @property
    def traits(self) -> Traits:
        """Images keep their size, that of their perturbations."""
        lost = "FGSM-MEP keeps a perturbation of every image; images that change size lose it"
        return Traits(needs={"size": lost}, memory=dict.fromkeys(("delta", "momentum", "visits"), "image"))

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield l(f(x + d), y) plus the weighted change of the logits."""
        x, y, box, targets = batch.x, batch.y, Box(batch.x, self.eps), relaxed(self.target_mass)
        index = self.room_for(batch)
        start, momentum = self.recall(index)
        first, g = logits_and_gradient(model, x, y, start, objective=toward(targets))
        momentum = g / batch.total(g.abs().sum()).clamp_min(1e-30) + self.decay * momentum
        delta = box.project(start + self.eps * g.sign())
        self.memory["delta"][index] = box.project(start + self.eps * momentum.sign())
        self.memory["momentum"][index] = momentum
        self.memory["visits"][index] += 1
        batch.log["active"] = 1 - box.interior(delta).mean()
        logits = model(x + delta)
        yield target_loss(logits, batch, targets) + self.consistency * F.mse_loss(logits, first)

    def recall(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return D and m of the images `index`, both (B, C, H, W), new ones where it is time.

        What a larger budget left behind is cut to eps.
        """
        delta, momentum = (self.memory[name][index] for name in ("delta", "momentum"))
        fresh = (self.memory["visits"][index] % self.reset == 0)[:, None, None, None]
        corner = self.eps * uniform_like(delta).sign()
        return torch.where(fresh, corner, delta.clamp(-self.eps, self.eps)), torch.where(fresh, 0.0, momentum)

    def room_for(self, batch: Batch) -> Tensor:
        """Let the memory hold the batch's images; return their index, where x is."""
        x, index = batch.x, batch.index
        if index is None:
            raise InputError("FGSM-MEP keeps a perturbation of every image: its batches need each image's index")
        if not self.memory:
            none = x.new_zeros(0, *x.shape[1:])
            self.memory.update(delta=none, momentum=none, visits=torch.zeros(0, dtype=torch.int64, device=x.device))
        count = int(index.max()) + 1
        self.memory.update({name: grown(rows, count) for name, rows in self.memory.items()})
        return sent(index, x.device)
