"""Which update a training first failed in, and what is needed to make it again.

A step reads nothing back from its device, so a loss that is not finite may be seen late, and a gradient in the loss of
the next step alone. But every update is a function of its step and of the state before it: from the newest checkpoint
they are made again, with each loss and gradient looked at. RUN/fault.ckpt is then the state before the first bad one,
and RUN/fault.json names it.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from fastbat.data.share import ALONE
from fastbat.errors import DivergedError
from fastbat.files import write_json
from fastbat.models.finite import finite, not_finite
from fastbat.progress import say
from fastbat.runtime.processes import on_first
from fastbat.training.checkpoints import Checkpoints
from fastbat.training.divergence import explain
from fastbat.training.epoch import find_gradients, move_weights, remaining, update
from fastbat.training.run import Run
from fastbat.training.state import State, save_state
from fastbat.training.task import Task

FEW = 6  # images that a line names


@dataclass(frozen=True)
class Fault:
    """The first update whose loss or gradient is not finite."""

    what: str  # "loss nan", or which gradient
    epoch: int  # from 1
    update: int  # in the epoch, from 1
    step: int  # in the training, from 0
    images: list[int]  # the batch's places in the training images
    last_finite_loss: float | None  # of the epoch; None: there was none

    def __str__(self) -> str:
        before = "" if self.last_finite_loss is None else f", after {self.last_finite_loss:.3g}"
        more = ", ..." if len(self.images) > FEW else ""
        return f"{self.what}, first in update {self.update}{before}, on images {str(self.images[:FEW])[1:-1]}{more}"


@contextmanager
def faults_explained(run: Run, task: Task, state: State, checkpoints: Checkpoints) -> Iterator[None]:
    """Let the error of a training that diverges in the block say in which update, on what, and why."""
    try:
        yield
    except DivergedError as error:
        number, losses, first = state.epoch + 1, state.partial.losses, task.steps(state.epoch, 1)
        if fault := locate(task, state, checkpoints):
            save_fault(run, fault, task, state, checkpoints)
        what = f"{fault}; look at it with: fastbat train --replay {shlex.quote(str(run.path))}" if fault else str(error)
        checkpoints.restore_epoch()
        cause = divergence_cause(task, state, losses, first)
        raise DivergedError(f"training diverged in epoch {number}: {what}; {cause}") from error


def locate(task: Task, state: State, checkpoints: Checkpoints) -> Fault | None:
    """Return the first bad update after the newest checkpoint, None if none is when they are made again."""
    say("a loss or a weight is not finite; the updates since the last checkpoint are made again, to find the first")
    checkpoints.restore()
    for batch, step in remaining(task, state):
        found, losses = find_gradients(task, state, batch, step), list(state.partial.losses.values())
        if found and (what := bad_number(found["loss"], state.model)):
            images = task.loader.parts(state.epoch)[state.partial.updates // state.replays].tolist()
            last = losses[-1].item() if losses else None
            return Fault(what, state.epoch + 1, state.partial.updates + 1, step, images, last)
        if found:
            move_weights(task, state, step)
        state.partial.add(found, batch.images)
    return None


def bad_number(loss: Tensor, model: nn.Module) -> str | None:
    """Return in words whether a loss is not finite, or the gradient of which weight is not; else None."""
    if not finite(loss):
        return f"loss {loss.item():g}"
    for name, weight in model.named_parameters():
        if not finite(weight.grad):
            return f"loss {loss.item():.3g}, but the gradient of {name} is not finite"
    return None


def save_fault(run: Run, fault: Fault, task: Task, state: State, checkpoints: Checkpoints) -> None:
    """Write the state before an update that failed, and which it is."""
    checkpoints.restore()
    for batch, step in remaining(task, state):
        if step == fault.step:
            break
        state.partial.add(update(task, state, batch, step), batch.images)
    save_state(run.fault, task, state)
    on_first(lambda: write_json(run.about_fault, asdict(fault)))


def divergence_cause(task: Task, state: State, losses: dict[int, Tensor], first: int) -> str:
    """Return in words why the losses of the epoch that `state` is to begin diverged."""

    def fault_of(number: int) -> str | None:
        batch = next(replace(task.loader, shares=ALONE).epoch(state.epoch, number // state.replays))
        return not_finite(state.model.eval(), batch.x)

    values = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
    return explain(state.method, task.settings, values, first, fault_of)
