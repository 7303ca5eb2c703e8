"""BACKSMOOTH (Chen et al., 2022): one step toward a smoothed prediction, one step away from the clean one.

d0 = P(-eps sign grad_d KL(softmax(f(x) + gamma U(-1, 1)) || f(x + d))) at d = 0, in eval mode
d  = P(d0 + eps sign grad_d KL(f(x) || f(x + d))) at d0, in eval mode
theta <- theta - alpha grad [ mean CE(x) + beta mean KL(f(x) || f(x + d)) ]
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from fastbat.attacks.gradient import input_gradient
from fastbat.attacks.objective import kl_from
from fastbat.errors import InputError, check_weight
from fastbat.geometry import Box, check_eps
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.method import Batch, Method
from fastbat.methods.trades import trades_loss
from fastbat.randomness import uniform_like
from fastbat.runtime.modes import eval_mode


@dataclass(frozen=True)
class BackSmooth(Method):
    """Backward smoothing: one step from a point of the same prediction, TRADES' loss.

    BatchNorm sees two passes, at x and at x + d; the attack is made in eval mode.
    """

    eps: float
    gamma: float = 1.0
    """Size of the noise on the logits."""
    beta: float = field(default=10.0, metadata={"published": 10.0})
    """Weight of the KL term (10 in the authors' README, 6 as their code's own default)."""

    def __post_init__(self) -> None:
        check_eps(self.eps)
        if not 0 < self.gamma < math.inf:
            raise InputError(f"gamma is {self.gamma:g}; it must be above 0: without noise step one has no direction")
        check_weight("beta", self.beta)

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(x) + beta mean KL(f(x) || f(x + d))."""
        x, y = batch.x, batch.y
        box = Box(x, self.eps)
        with eval_mode(model):
            clean = model(x).detach()
            smoothed = kl_from(clean + self.gamma * uniform_like(clean))
            back = input_gradient(model, x, y, torch.zeros_like(x), objective=smoothed).sign()
            start = box.project(-self.eps * back)
            away = input_gradient(model, x, y, start, objective=kl_from(clean)).sign()
            delta = box.project(start + self.eps * away)
        batch.log["active"] = 1 - box.interior(delta).mean()
        yield trades_loss(model, x, delta, batch, self.beta)
