"""An epoch: one update a batch and replay, from the gradients of the losses that the method yields.

for loss in method.losses(model, batch): loss.backward()
optimizer.step(); optimizer.zero_grad()
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from fastbat.data import Batch
from fastbat.errors import DivergedError
from fastbat.models.finite import finite, not_finite
from fastbat.progress import bar
from fastbat.randomness import seed_torch
from fastbat.runtime.device import synchronize
from fastbat.training.average import move_average
from fastbat.training.divergence import explain
from fastbat.training.gradients import Sums, add, gradients, means
from fastbat.training.state import State
from fastbat.training.task import Task


def train_epoch(task: Task, state: State, restore: Callable[[], None]) -> dict[str, Any]:
    """Run the method over every training image once; return the epoch's training record.

    Raises DivergedError if the loss or a weight is no longer finite; `restore` takes the state back to where the epoch
    began, to find out why.
    """
    start, number, replays = time.perf_counter(), state.epoch + 1, state.replays
    sums: Sums = {}
    losses: dict[int, Tensor] = {}  # by number of the update in the epoch
    first, batches = task.steps(state.epoch, 1), task.steps(number, 1) - task.steps(state.epoch, 1)
    if state.compiled:
        state.compiled.size = 0  # that of this epoch's first part
    with bar(name := f"epoch {number} of {task.epochs}") as show:
        for i, batch in enumerate(task.loader.epoch(state.epoch)):
            show(i / batches, name)
            for j in range(i * replays, (i + 1) * replays):
                found = update(task, state, batch, first * replays + j)
                if found:  # else the method skips this batch
                    losses[j] = found["loss"]
                for key, value in found.items():
                    add(sums, key, value, len(batch.y))
    synchronize(task.device)
    seconds = time.perf_counter() - start
    record = {"epoch": number, **{key: value.item() for key, value in means(sums).items()}}
    if losses and (what := describe_divergence(state, record["loss"])):
        restore()
        raise DivergedError(
            f"training diverged in epoch {number}: {what}; {divergence_cause(task, state, losses, first)}"
        )
    if skipped := batches * replays - len(losses):
        record["skipped"] = skipped
    record["lr"] = state.optimizer.param_groups[0]["lr"]
    return record | {"seconds": seconds, "images_per_second": len(task.loader.images) / seconds}


def update(task: Task, state: State, batch: Batch, step: int) -> dict[str, Tensor]:
    """Make update `step` (from 0) of the weights; return the mean loss and what was measured, still on the device.

    A batch for which the method yields no loss makes no update, and nothing is returned.
    """
    settings = task.settings
    seed_torch(settings.seed, "step", step)
    set_rates(task, state, task.height(step, state.replays))
    state.model.train()
    progress = step / task.steps(task.epochs, state.replays)
    batch = replace(batch, step=step, progress=progress, label_smoothing=settings.label_smoothing, log={})
    found = gradients(state.method, state.net, batch, settings.accumulate)
    if found:
        state.optimizer.step()
        state.optimizer.zero_grad()
        if settings.ema is not None:
            move_average(state.models["ema"], state.model, settings.ema, step)
    return found


def set_rates(task: Task, state: State, height: float) -> None:
    """Set learning rate and momentum where the rate is at `height` of its peak."""
    momentum, low = task.settings.momentum, task.settings.momentum_at_peak
    scale = 1 if state.method is task.method else task.method.traits.lr_scale  # a remedy gets the rate that is its own
    for group in state.optimizer.param_groups:
        group["lr"] = (task.settings.max_lr or 0) / scale * height
        group["momentum"] = momentum if low is None else momentum + (low - momentum) * height


def describe_divergence(state: State, loss: float) -> str | None:
    """Return in words whether the mean loss of an epoch or a weight is no longer finite, None if all are."""
    sound = all(finite(weight) for weight in state.model.parameters())
    return None if sound and math.isfinite(loss) else f"loss {loss:g}, weights {'finite' if sound else 'not finite'}"


def divergence_cause(task: Task, state: State, losses: dict[int, Tensor], first: int) -> str:
    """Return in words why the losses of the epoch that `state` is to begin diverged."""

    def fault_of(number: int) -> str | None:
        batch = next(islice(task.loader.epoch(state.epoch), number // state.replays, None))
        return not_finite(state.model.eval(), batch.x)

    values = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
    return explain(state.method, task.settings, values, first, fault_of)
