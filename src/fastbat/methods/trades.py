"""TRADES (Zhang et al., 2019): clean accuracy, and predictions that do not move.

d <- P(d + step sign grad_d KL(f(x) || f(x + d))), k times from 0.001 N(0, 1), not projected, in eval mode
theta <- theta - alpha grad [ mean CE(x) + beta mean KL(f(x) || f(x + d)) ]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastbat.attacks.mode import eval_mode
from fastbat.attacks.objective import kl, kl_from
from fastbat.attacks.pgd import pgd
from fastbat.errors import InputError, check_weight
from fastbat.geometry import check_eps, step_size
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.method import LabelledBatch, training_loss


@dataclass(frozen=True)
class Trades:
    """TRADES: clean CE and a KL term that ten steps make as large as they can.

    BatchNorm sees two passes, at x and at x + d; the attack is made in eval mode and leaves no trace.
    """

    eps: float
    steps: int = 10
    """Number of signed steps, k."""
    step: float | None = field(default=None, metadata={"per_eps": True})
    """Size of a step on the [0, 1] scale; 0.007 / 0.031 eps unless given."""
    beta: float = field(default=6.0, metadata={"published": 6.0})
    """Weight of the KL term."""
    stats: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_eps(self.eps)
        if self.steps < 1:
            raise InputError(f"steps is {self.steps}; TRADES takes at least one step")
        object.__setattr__(self, "step", step_size(self.step, 0.007 / 0.031 * self.eps))
        check_weight("beta", self.beta)

    def losses(self, model: nn.Module, batch: LabelledBatch) -> Iterator[Tensor]:
        """Yield mean CE(x) + beta mean KL(f(x) || f(x + d))."""
        assert self.step is not None
        x, y = batch.x, batch.y
        start = 0.001 * torch.randn_like(x)
        with eval_mode(model):
            objective = kl_from(model(x).detach())
            delta = pgd(model, x, y, start, eps=self.eps, steps=self.steps, step=self.step, objective=objective)
        yield trades_loss(model, x, delta, batch, self.beta)


def trades_loss(model: nn.Module, x: Tensor, delta: Tensor, batch: LabelledBatch, beta: float) -> Tensor:
    """Return mean CE(x) + beta mean KL(f(x) || f(x + delta)); f(x) keeps its gradient."""
    clean = model(x)
    return training_loss(clean, batch) + beta * kl(clean, model(x + delta)) / len(x)
