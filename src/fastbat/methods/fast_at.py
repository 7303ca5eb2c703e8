"""FAST-AT (Wong et al., 2020): one signed step from a random start, Eqs. 5 and 6.

d0 = P(U(-eps, eps))
d  = P(d0 + 1.25 eps sign g(d0))
theta <- theta - alpha grad mean CE(x + d)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fastbat.attacks.gradient import input_gradient
from fastbat.errors import InputError
from fastbat.geometry import Box, check_eps
from fastbat.lazy import Tensor, nn
from fastbat.methods.method import Batch, Method, training_loss


@dataclass(frozen=True)
class FastAT(Method):
    """FAST-AT: one signed step from a random start.

    BatchNorm sees two passes, at d0 and at d.
    """

    eps: float
    step_ratio: float = 1.25
    """Size of the signed step, in units of eps."""

    def __post_init__(self) -> None:
        check_eps(self.eps)
        if not 0 < self.step_ratio < math.inf:
            raise InputError(f"step_ratio is {self.step_ratio:g}; it must be above 0: the published step is 1.25 eps")

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(x + d)."""
        x, y = batch.x, batch.y
        box = Box(x, self.eps)
        start = box.uniform()
        delta = box.project(start + self.step_ratio * self.eps * input_gradient(model, x, y, start).sign())
        batch.log["active"] = 1 - box.interior(delta).mean()
        yield training_loss(model(x + delta), batch)
