"""PGD-k-AT (Madry et al., 2018): k signed steps from a random start, then one update.

d <- P(d + step sign g(d)), k times from P(U(-eps, eps)), or from 0
theta <- theta - alpha grad mean CE(x + d)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from fastbat.attacks.pgd import pgd
from fastbat.errors import InputError, check_choices
from fastbat.geometry import Box, check_eps, step_size
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.method import LabelledBatch, training_loss


@dataclass(frozen=True)
class PgdAT:
    """PGD-k-AT: k signed steps from a random start.

    BatchNorm sees k + 1 passes.
    """

    eps: float
    steps: int = 2
    """Number of signed steps, k."""
    step: float | None = field(default=None, metadata={"per_eps": True})
    """Size of a step on the [0, 1] scale; eps / 2 if not given."""
    init: Literal["random", "zero"] = "random"
    """Where the steps start: P(U(-eps, eps)), or zero (the authors of FAST-AT-GA)."""
    stats: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_eps(self.eps)
        if self.steps < 1:
            raise InputError(f"steps is {self.steps}; PGD-k-AT takes at least one step")
        check_choices(self)
        object.__setattr__(self, "step", step_size(self.step, self.eps / 2))

    def losses(self, model: nn.Module, batch: LabelledBatch) -> Iterator[Tensor]:
        """Yield mean CE(x + d)."""
        assert self.step is not None
        x, y = batch.x, batch.y
        box = Box(x, self.eps)
        start = torch.zeros_like(x) if self.init == "zero" else box.uniform()
        delta = pgd(model, x, y, start, eps=self.eps, steps=self.steps, step=self.step)
        self.stats["active"] = 1 - box.interior(delta).mean()
        yield training_loss(model(x + delta), batch)


@dataclass(frozen=True)
class Pgd2AT(PgdAT):
    """PGD-2-AT as the paper compares it: two steps of eps / 2 from a random start (App. C.1)."""


@dataclass(frozen=True)
class Pgd7AT(PgdAT):
    """PGD-7-AT as the released code has it: seven steps of 2/255 at every eps."""

    steps: int = 7
    step: float | None = field(default=2 / 255, metadata={"per_eps": True})
