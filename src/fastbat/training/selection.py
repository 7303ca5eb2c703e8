"""The validation of an epoch: accuracies on the same validation images, from the same starts, epoch after epoch.

Of P processes that of rank r attacks images r, r + P, ...
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fastbat.evaluation import AttackedModel, Plan, TestImages, correct, frozen, gradient_alignment, robust
from fastbat.progress import bar
from fastbat.runtime.precision import in_precision
from fastbat.runtime.processes import rank, summed, world
from fastbat.training.overfitting import STEP_RATIO, has_collapsed
from fastbat.training.settings import Settings
from fastbat.training.state import State
from fastbat.training.task import Task

PREFIXES = {"model": "val", "ema": "val_ema"}  # of a model's accuracies in the record of an epoch


def validate(task: Task, state: State) -> dict[str, Any]:
    """Return what the validation images say of each model: val_sa, val_ra, ..., of the average val_ema_sa, ..."""
    start, (x, y), eps, settings = time.perf_counter(), task.validation, state.method.eps, task.settings
    record: dict[str, Any] = {"val_n": len(y)}
    for kind, model in state.models.items():
        found = accuracies(in_precision(model, settings.precision), x, y, eps, settings)
        record |= {f"{PREFIXES[kind]}_{name}": value for name, value in found.items()}
    if eps:
        record["collapsed"] = has_collapsed(record["val_one_step"], record["val_ra"], state.best_ra, len(y))
        if settings.ga_images:
            net, size = in_precision(state.model, settings.precision), min(250, settings.eval_batch_size)
            record["ga"] = gradient_alignment(net, *task.ga_images, eps, seed=settings.seed, batch_size=size)
    return record | {"select_seconds": time.perf_counter() - start}


def is_best(state: State, kind: str, record: Mapping[str, Any]) -> bool:
    """Say whether the epoch of `record` is a model's best so far, by ra and then by sa, and remember it."""
    now = record.get(f"{PREFIXES[kind]}_ra", 0.0), record[f"{PREFIXES[kind]}_sa"]
    before, state.best[kind] = state.best[kind], max(now, state.best[kind])
    return now > before


def accuracies(net: nn.Module, x: Tensor, y: Tensor, eps: float, settings: Settings) -> dict[str, float]:
    """Return accuracies in percent: sa; where there is a budget also ra, under PGD, and one_step, under FAST-AT's step.

    `net` takes images (B, C, H, W) in [0, 1]; its mode and weights are left as they were.
    """
    size = settings.eval_batch_size
    with frozen(net), bar("validation") as show:
        images, model = TestImages.of(x, y, net), AttackedModel.of(net)
        mine, clean = slice(rank(), None, world()), torch.zeros_like(y, dtype=torch.bool)
        if len(y[mine]):
            clean[mine] = correct(net, TestImages.of(x[mine], y[mine], net), size)
        masks = {"sa": clean}
        if eps:
            steps, restarts = settings.select_steps, settings.select_restarts
            assert steps is not None and restarts is not None  # noqa: PT018 (resolved)
            plan = Plan(eps, 0, settings.seed, steps, restarts)
            search = {"ce": "pgd", "margin": "pgd-margin"}[settings.select_on]
            masks["ra"] = robust(model, images, clean, plan.rounds(search), eps, size, show)
            one = replace(plan, steps=1, restarts=1, step=STEP_RATIO * eps)
            masks["one_step"] = robust(model, images, clean, one.rounds("pgd"), eps, size)
    return {name: 100 * summed(mask.long()).float().mean().item() for name, mask in masks.items()}


def majority_accuracy(y: Tensor) -> float:
    """Return in percent the accuracy, clean and robust, of always naming the most common class of the labels y (N,)."""
    return 100 * y.bincount().max().item() / len(y)
