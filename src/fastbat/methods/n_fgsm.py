"""N-FGSM (de Jorge et al., 2022): strong noise, one signed step, no projection onto the eps ball.

n = U(-2 eps, 2 eps), clipped to the images' box;  d = n + eps sign g(n), clipped to the images' box
theta <- theta - alpha grad mean CE(x + d)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastbat.attacks.gradient import input_gradient
from fastbat.errors import check_weight
from fastbat.geometry import Box, check_eps
from fastbat.lazy import Tensor, nn
from fastbat.methods.method import Batch, Method, training_loss
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

    def __post_init__(self) -> None:
        check_eps(self.eps)
        for name in ("noise_ratio", "step_ratio"):
            check_weight(name, getattr(self, name))

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(x + d)."""
        x, y = batch.x, batch.y
        image = Box(x, 1.0)  # 0 <= x + d <= 1 alone
        noise = image.project(uniform_like(x) * self.noise_ratio * self.eps)
        delta = image.project(noise + self.step_ratio * self.eps * input_gradient(model, x, y, noise).sign())
        yield training_loss(model(x + delta), batch)
