"""An epoch: one update a batch and replay, from the gradients of the losses that the method yields.

for loss in method.losses(model, batch): loss.backward()
optimizer.step(); optimizer.zero_grad()
"""

import math
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fastbat.data import Batch
from fastbat.data.share import ALONE
from fastbat.errors import DivergedError
from fastbat.models.finite import finite, not_finite
from fastbat.progress import bar
from fastbat.runtime.device import synchronize
from fastbat.training.average import move_average
from fastbat.training.checkpoints import Checkpoints
from fastbat.training.divergence import explain
from fastbat.training.exchange import shared_gradients
from fastbat.training.gradients import means
from fastbat.training.state import State
from fastbat.training.task import Task


def train_epoch(task: Task, state: State, checkpoints: Checkpoints) -> dict[str, Any]:
    """Run the method over every training image once, from where `state` is; return the epoch's training record.

    Between updates `checkpoints` may write the state, or end the training. Raises DivergedError if the loss or a weight
    is no longer finite; the state is then the one that the epoch began with, to find out why.
    """
    partial, replays, number = state.partial, state.replays, state.epoch + 1
    before, batches = task.steps(state.epoch, 1), task.steps(number, 1) - task.steps(state.epoch, 1)
    start, begun = time.perf_counter() - partial.seconds, partial.updates // replays
    if state.compiled and not partial.updates:
        state.compiled.size = 0  # that of this epoch's first part
    with bar(name := f"epoch {number} of {task.epochs}") as show:
        for i, batch in enumerate(task.loader.epoch(state.epoch, begun), begun):
            show(i / batches, name)
            for j in range(max(i * replays, partial.updates), (i + 1) * replays):
                checkpoints.between_updates()
                partial.add(update(task, state, batch, before * replays + j), batch.images)
                partial.seconds = time.perf_counter() - start
    synchronize(task.device)
    partial.seconds = time.perf_counter() - start
    checkpoints.between_updates()
    record = {"epoch": number, **{key: value.item() for key, value in means(partial.sums).items()}}
    if partial.losses and (what := describe_divergence(state, record["loss"])):
        checkpoints.restore_epoch()
        raise DivergedError(
            f"training diverged in epoch {number}: {what}; {divergence_cause(task, state, partial.losses, before)}"
        )
    if skipped := partial.updates - len(partial.losses):
        record["skipped"] = skipped
    record["lr"] = learning_rate(task, state, task.steps(number, replays) - 1)
    return record | {"seconds": partial.seconds, "images_per_second": len(task.loader.images) / partial.seconds}


def update(task: Task, state: State, batch: Batch, step: int) -> dict[str, Tensor]:
    """Make update `step` (from 0) of the weights; return the mean loss and what was measured, still on the device.

    A batch for which the method yields no loss makes no update, and nothing is returned.
    """
    settings = task.settings
    set_rates(task, state, step)
    state.model.train()
    progress = step / task.steps(task.epochs, state.replays)
    batch = replace(batch, step=step, progress=progress, label_smoothing=settings.label_smoothing, log={})
    noise, recorded = (settings.seed, "step", step), state.partial.sums
    found = shared_gradients(state.method, state.net, batch, settings.accumulate, noise, recorded)
    if found:
        state.optimizer.step()
        state.optimizer.zero_grad()
        if settings.ema is not None:
            move_average(state.models["ema"], state.model, settings.ema, step)
    return found


def set_rates(task: Task, state: State, step: int) -> None:
    """Set learning rate and momentum to those of update `step`."""
    momentum, low = task.settings.momentum, task.settings.momentum_at_peak
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(task, state, step)
        group["momentum"] = momentum if low is None else momentum + (low - momentum) * task.height(step, state.replays)


def learning_rate(task: Task, state: State, step: int) -> float:
    """Return the learning rate of update `step`."""
    scale = 1 if state.method is task.method else task.method.traits.lr_scale  # a remedy gets the rate that is its own
    return (task.settings.max_lr or 0) / scale * task.height(step, state.replays)


def describe_divergence(state: State, loss: float) -> str | None:
    """Return in words whether the mean loss of an epoch or a weight is no longer finite, None if all are."""
    sound = all(finite(weight) for weight in state.model.parameters())
    return None if sound and math.isfinite(loss) else f"loss {loss:g}, weights {'finite' if sound else 'not finite'}"


def divergence_cause(task: Task, state: State, losses: dict[int, Tensor], first: int) -> str:
    """Return in words why the losses of the epoch that `state` is to begin diverged."""

    def fault_of(number: int) -> str | None:
        batch = next(replace(task.loader, shares=ALONE).epoch(state.epoch, number // state.replays))
        return not_finite(state.model.eval(), batch.x)

    values = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
    return explain(state.method, task.settings, values, first, fault_of)
