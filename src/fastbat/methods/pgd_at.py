"""PGD-k-AT (Madry et al., 2018): k signed steps from a random start, then one update.

d <- P(d + step sign g(d)), k times from P(U(-eps, eps)), or from 0
theta <- theta - alpha grad mean CE(x + d)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from fastbat.attacks.pgd import pgd
from fastbat.errors import check_choices, check_count
from fastbat.geometry import Box, check_eps, check_step
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.method import Batch, Method, training_loss


@dataclass(frozen=True)
class PgdAT(Method):
    """PGD-k-AT: k signed steps from a random start.

    BatchNorm sees k + 1 passes.
    """

    eps: float
    steps: int = 2
    """Number of signed steps, k."""
    step: float | None = None
    """Size of a step on the [0, 1] scale; eps / 2 if not given."""
    init: Literal["random", "zero"] = "random"
    """Where the steps start: P(U(-eps, eps)), or zero (the authors of FAST-AT-GA)."""

    def __post_init__(self) -> None:
        check_eps(self.eps)
        check_count("steps", self.steps)
        check_choices(self)
        check_step(self.step)

    @property
    def resolved(self) -> dict[str, Any]:
        """The size of a step for this eps."""
        return {"step": self.eps / 2 if self.step is None else self.step}

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(x + d)."""
        x, y = batch.x, batch.y
        box = Box(x, self.eps)
        start = torch.zeros_like(x) if self.init == "zero" else box.uniform()
        delta = pgd(model, x, y, start, eps=self.eps, steps=self.steps, **self.resolved)
        batch.log["active"] = 1 - box.interior(delta).mean()
        yield training_loss(model(x + delta), batch)


@dataclass(frozen=True)
class Pgd2AT(PgdAT):
    """PGD-2-AT as the paper compares it: two steps of eps / 2 from a random start (App. C.1)."""


@dataclass(frozen=True)
class Pgd7AT(PgdAT):
    """PGD-7-AT as the released code has it: seven steps of 2/255 at every eps."""

    steps: int = 7
    step: float | None = 2 / 255
