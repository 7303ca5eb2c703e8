"""An epoch: one update a batch and replay, from the gradients of the losses that the method yields.

for loss in method.losses(model, batch): loss.backward()
optimizer.step(); optimizer.zero_grad()
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
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
    start, look = time.perf_counter() - partial.seconds, look_every(task)
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
        found |= alarmed(task, state, step, found)
    return found


def alarmed(task: Task, state: State, step: int, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return whether the alarm is on after update `step`, in which that was `found`; act on it if that is wanted.

    An update of more steps says nothing of one step, and is counted instead.
    """
    if "pert_align" not in found:
        return {}
    if state.method_at(step) is not state.method:
        return {"escalated": torch.ones_like(found["loss"])}
    on = state.alarm.heard(found["pert_align"])
    if task.settings.on_alarm != "escalate":
        return {"alarm": on}
    if (step + 1) % look_every(task) == 0 and on:
        state.alarm.escalate(step + 1 + task.settings.escalate_updates)
    return {"alarm": on, "escalated": torch.zeros_like(on)}


def look_every(task: Task) -> int:
    """Return after how many updates the device is waited for, to look at what was found."""
    return 1 if task.device.type == "cpu" else LOOK


def find_gradients(task: Task, state: State, batch: Batch, step: int) -> dict[str, Tensor]:
    """Leave the gradients of update `step` in the weights; return what `update` does."""
    settings = task.settings
    set_rates(task, state, step)
    state.model.train()
    progress = step / task.steps(task.epochs, state.replays)
    batch = replace(batch, step=step, progress=progress, label_smoothing=settings.label_smoothing, log={})
    batch = replace(batch, random_smoothing=settings.label_weights == "random")
    method, noise, recorded = state.method_at(step), (settings.seed, "step", step), state.partial.sums
    if state.captured:
        return means(state.captured(method, state.net, batch, noise))
    return shared_gradients(method, state.net, batch, settings.accumulate, noise, recorded)


def move_weights(task: Task, state: State, step: int) -> None:
    """Move the weights, and their average, along the gradients in them."""
    settings = task.settings
    state.optimizer.step()
    state.optimizer.zero_grad()
    if settings.ema is not None:
        move_average(state.models["ema"], state.model, task.ema, step)


def set_rates(task: Task, state: State, step: int) -> None:
    """Set learning rate and momentum to those of update `step`."""
    momentum, low = task.settings.momentum, task.settings.momentum_at_peak
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(task, state, step)
        group["momentum"] = momentum if low is None else momentum + (low - momentum) * task.height(step, state.replays)


def learning_rate(task: Task, state: State, step: int) -> float:
    """Return the learning rate of update `step`."""
    scale = (
        1 if state.method_at(step) is task.method else task.method.traits.lr_scale
    )  # a remedy gets the rate that is its own
    return (task.settings.max_lr or 0) / scale * task.height(step, state.replays)
