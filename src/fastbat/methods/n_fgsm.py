"""N-FGSM (de Jorge et al., 2022): strong noise, one signed step, no projection onto the eps ball.

n = U(-2 eps, 2 eps), clipped to the images' box;  d = n + eps sign g(n), clipped to the images' box
theta <- theta - alpha grad mean CE(x + d)

One family of one-step methods: the size of the noise and of the step, whether d is clipped to the eps ball too, and the
share m of each target that stays on the true class; each other class has (1 - m) / (K - 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastbat.attacks.gradient import input_gradient
from fastbat.errors import check_weight
from fastbat.geometry import Box, check_eps
from fastbat.lazy import Tensor, nn
from fastbat.methods.method import Batch, Method, training_loss
from fastbat.methods.targets import check_share, relaxed, target_loss
from fastbat.randomness import uniform_like


@dataclass(frozen=True)
class NFGSM(Method):
    """N-FGSM: one signed step from strong noise, not cut to the eps ball.

    BatchNorm sees two passes, at n and at d.
    """

    eps: float
    noise_ratio: float = 2.0
    """Size of the noise, in units of eps."""
    step_ratio: float = 1.0
    """Size of the signed step, in units of eps."""
    clip: bool = False
    """Cut n and d to the eps ball, too."""
    target_mass: float = 1.0
    """Share of each target on the true class, when the weights are trained; the other classes share the rest."""

    def __post_init__(self) -> None:
        check_eps(self.eps)
        for name in ("noise_ratio", "step_ratio"):
            check_weight(name, getattr(self, name))
        check_share("target_mass", self.target_mass)

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(x + d)."""
        noise = self.noise(batch.x)
        delta = self.stepped(batch.x, noise, input_gradient(model, batch.x, batch.y, noise))
        yield self.loss(model(batch.x + delta), batch)

    def box(self, x: Tensor) -> Box:
        """Return where n and d lie: in the images' box, with `clip` in the eps ball, too."""
        return Box(x, self.eps if self.clip else 1.0)

    def noise(self, x: Tensor) -> Tensor:
        """Draw n."""
        return self.box(x).project(uniform_like(x) * self.noise_ratio * self.eps)

    def stepped(self, x: Tensor, noise: Tensor, g: Tensor) -> Tensor:
        """Return d."""
        return self.box(x).project(noise + self.step_ratio * self.eps * g.sign())

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean CE to the targets."""
        if self.target_mass == 1:
            return training_loss(logits, batch)
        return target_loss(logits, batch, relaxed(self.target_mass))
