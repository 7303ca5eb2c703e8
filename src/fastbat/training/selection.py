"""What an epoch is judged by: accuracies on the same validation images, from the same starts, epoch after epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from fastbat.evaluation import Plan, correct, frozen, robust
from fastbat.progress import bar
from fastbat.training.collapse import STEP_RATIO
from fastbat.training.settings import Settings


@dataclass
class Candidate:
    """Weights that every epoch judges and saves: the model's own, or their average."""

    model: nn.Module
    net: nn.Module  # the same, in the precision that training runs in
    suffix: str = ""  # of its files, behind best and last
    prefix: str = "val"  # of its accuracies in a record: PREFIX_sa, PREFIX_ra
    best: tuple[float, float] = (-1.0, -1.0)  # (ra, sa) of its best epoch so far

    def is_best(self, record: Mapping[str, Any]) -> bool:
        """Say whether the epoch of `record` has the highest ra so far, among equals the highest sa, and remember it."""
        now = record.get(f"{self.prefix}_ra", 0.0), record[f"{self.prefix}_sa"]
        better = now > self.best
        self.best = max(now, self.best)
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
            steps, restarts = settings.select_steps, settings.select_restarts
            assert steps is not None and restarts is not None  # noqa: PT018 (resolved)
            plan = Plan(eps, 0, settings.seed, steps, restarts)
            masks["ra"] = robust(net, x, y, clean, plan.rounds("pgd"), eps, size, show)
            one = replace(plan, steps=1, restarts=1, step=STEP_RATIO * eps)
            masks["one_step"] = robust(net, x, y, clean, one.rounds("pgd"), eps, size)
    return {name: 100 * mask.float().mean().item() for name, mask in masks.items()}


def naming_one_class(y: Tensor) -> float:
    """Return in percent the accuracy, clean and robust, of always naming the most common class of the labels y (N,)."""
    return 100 * y.bincount().max().item() / len(y)
