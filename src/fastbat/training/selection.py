"""What an epoch is judged by: accuracies on the same validation images, from the same starts, epoch after epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from fastbat.evaluation import Plan, correct, frozen, robust
from fastbat.progress import bar
from fastbat.training.collapse import STEP_RATIO
from fastbat.training.settings import Settings


@dataclass(frozen=True)
class Best:
    """The epoch with the highest robust validation accuracy; among equals standard accuracy decides."""

    ra: float = -1.0
    sa: float = -1.0
    epoch: int = 0

    def beats(self, other: "Best") -> bool:
        """Say whether this epoch is to be kept rather than `other`."""
        return (self.ra, self.sa) > (other.ra, other.sa)


@dataclass
class Candidate:
    """Weights that every epoch judges and saves: the model's own (name ""), or their average ("ema")."""

    model: nn.Module
    net: nn.Module  # the same, in the precision that training runs in
    name: str
    best: Best = Best()

    @property
    def suffix(self) -> str:
        """What its files are called behind best and last."""
        return f"-{self.name}" if self.name else ""

    @property
    def prefix(self) -> str:
        """What its accuracies are called in a record: PREFIX_sa, PREFIX_ra."""
        return f"val_{self.name}" if self.name else "val"

    def is_best(self, record: Mapping[str, Any]) -> bool:
        """Say whether the epoch of `record` is the best so far, and remember it if so."""
        now = Best(record.get(f"{self.prefix}_ra", 0.0), record[f"{self.prefix}_sa"], record["epoch"])
        better = now.beats(self.best)
        self.best = now if better else self.best
        return better


def judge(net: nn.Module, x: Tensor, y: Tensor, eps: float, settings: Settings) -> dict[str, float]:
    """Return accuracies in percent: sa; where there is a budget also ra, under PGD, and one_step, under FAST-AT's step.

    `net` takes images (B, C, H, W) in [0, 1]; its mode and weights are left as they were.
    """
    size = settings.at_once
    with frozen(net), bar("validation") as show:
        clean = correct(net, x, y, size)
        masks = {"sa": clean}
        if eps:
            plan = Plan(eps, 0, settings.seed, settings.select_steps, settings.select_restarts)
            masks["ra"] = robust(net, x, y, clean, plan.rounds("pgd"), eps, size, show)
            one = replace(plan, steps=1, restarts=1, step=STEP_RATIO * eps)
            masks["one_step"] = robust(net, x, y, clean, one.rounds("pgd"), eps, size)
    return {name: 100 * mask.float().mean().item() for name, mask in masks.items()}
