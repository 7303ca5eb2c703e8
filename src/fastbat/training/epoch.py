"""An epoch: one update a batch and replay, from the gradients of the losses that the method yields.

for loss in method.losses(model, batch): loss.backward()
optimizer.step(); optimizer.zero_grad()
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from fastbat.data import Batch
from fastbat.progress import bar
from fastbat.runtime.device import synchronize
from fastbat.training.average import move_average
from fastbat.training.checkpoints import Checkpoints
from fastbat.training.exchange import shared_gradients
from fastbat.training.finite import LOOK, check_finite, check_losses
from fastbat.training.gradients import means
from fastbat.training.state import State
from fastbat.training.task import Task


def train_epoch(task: Task, state: State, checkpoints: Checkpoints) -> dict[str, Any]:
    """Run the method over every training image once, from where `state` is; return the epoch's training record.

    Between updates `checkpoints` may write the state, or end the training. Raises DivergedError if a loss or a weight
    is no longer finite; on a GPU, which is not waited for in every update, some updates later.
    """
    partial, number = state.partial, state.epoch + 1
    begin, end = task.steps(state.epoch, state.replays), task.steps(number, state.replays)
    start, look = time.perf_counter() - partial.seconds, 1 if task.device.type == "cpu" else LOOK
    if state.compiled and not partial.updates:
        state.compiled.size = 0  # that of this epoch's first part
    with bar(name := f"epoch {number} of {task.epochs}") as show:
        for batch, step in remaining(task, state):
            show((step - begin) / (end - begin), name)
            checkpoints.between_updates()
            partial.add(update(task, state, batch, step), batch.images)
            partial.seconds = time.perf_counter() - start
            if partial.updates % look == 0:
                check_losses(partial, look)
    synchronize(task.device)
    partial.seconds = time.perf_counter() - start
    check_finite(state)
    checkpoints.between_updates()
    record = {"epoch": number, **{key: value.item() for key, value in means(partial.sums).items()}}
    if skipped := partial.updates - len(partial.losses):
        record["skipped"] = skipped
    record["lr"] = learning_rate(task, state, end - 1)
    return record | {"seconds": partial.seconds, "images_per_second": len(task.loader.images) / partial.seconds}


def remaining(task: Task, state: State) -> Iterator[tuple[Batch, int]]:
    """Yield the batch and the step of each update that is left of the epoch that runs."""
    done, replays = state.partial.updates, state.replays
    first, begun = task.steps(state.epoch, replays), done // replays
    for i, batch in enumerate(task.loader.epoch(state.epoch, begun), begun):
        for j in range(max(i * replays, done), (i + 1) * replays):
            yield batch, first + j


def update(task: Task, state: State, batch: Batch, step: int) -> dict[str, Tensor]:
    """Make update `step` (from 0) of the weights; return the mean loss and what was measured, still on the device.

    A batch for which the method yields no loss makes no update, and nothing is returned.
    """
    if found := find_gradients(task, state, batch, step):
        move_weights(task, state, step)
    return found


def find_gradients(task: Task, state: State, batch: Batch, step: int) -> dict[str, Tensor]:
    """Leave the gradients of update `step` in the weights; return what `update` does."""
    settings = task.settings
    set_rates(task, state, step)
    state.model.train()
    progress = step / task.steps(task.epochs, state.replays)
    batch = replace(batch, step=step, progress=progress, label_smoothing=settings.label_smoothing, log={})
    noise, recorded = (settings.seed, "step", step), state.partial.sums
    if state.captured:
        return means(state.captured(state.method, state.net, batch, noise))
    return shared_gradients(state.method, state.net, batch, settings.accumulate, noise, recorded)


def move_weights(task: Task, state: State, step: int) -> None:
    """Move the weights, and their average, along the gradients in them."""
    settings = task.settings
    state.optimizer.step()
    state.optimizer.zero_grad()
    if settings.ema is not None:
        move_average(state.models["ema"], state.model, settings.ema, step)


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
