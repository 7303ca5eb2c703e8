"""TRADES (Zhang et al., 2019): clean accuracy, and predictions that do not move.

d <- P(d + step sign grad_d KL(f(x) || f(x + d))), k times from 0.001 N(0, 1), not projected, in eval mode
theta <- theta - alpha grad [ mean CE(x) + beta mean KL(f(x) || f(x + d)) ]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fastbat.attacks.objective import kl, kl_from
from fastbat.attacks.pgd import pgd
from fastbat.errors import check_count, check_weight
from fastbat.geometry import check_eps, check_step
from fastbat.lazy import Tensor, nn
from fastbat.methods.method import Batch, Method, training_loss
from fastbat.randomness import normal_like
from fastbat.runtime.modes import eval_mode


@dataclass(frozen=True)
class Trades(Method):
    """TRADES: clean CE and a KL term that ten steps make as large as they can.

    BatchNorm sees two passes, at x and at x + d; the attack is made in eval mode and leaves no trace.
    """

    eps: float
    steps: int = 10
    """Number of signed steps, k."""
    step: float | None = None
    """Size of a step on the [0, 1] scale; 0.007 / 0.031 eps unless given."""
    beta: float = field(default=6.0, metadata={"published": 6.0})
    """Weight of the KL term."""

    def __post_init__(self) -> None:
        check_eps(self.eps)
        check_count("steps", self.steps)
        check_step(self.step)
        check_weight("beta", self.beta)

    @property
    def resolved(self) -> dict[str, Any]:
        """The size of a step for this eps."""
        return {"step": 0.007 / 0.031 * self.eps if self.step is None else self.step}

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(x) + beta mean KL(f(x) || f(x + d))."""
        x, y = batch.x, batch.y
        start = 0.001 * normal_like(x)
        with eval_mode(model):
            objective = kl_from(model(x).detach())
            delta = pgd(model, x, y, start, eps=self.eps, steps=self.steps, **self.resolved, objective=objective)
        yield trades_loss(model, x, delta, batch, self.beta)


def trades_loss(model: nn.Module, x: Tensor, delta: Tensor, batch: Batch, beta: float) -> Tensor:
    """Return mean CE(x) + beta mean KL(f(x) || f(x + delta)); f(x) keeps its gradient."""
    clean = model(x)
    return training_loss(clean, batch) + beta * kl(clean, model(x + delta)) / len(x)
