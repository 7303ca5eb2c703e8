"""How far a run has come: what changes from step to step, as tensors and JSON on disk and back.

A checkpoint holds weights, their average, momenta, the method's memory and what is known of the epoch that runs. There
is no generator's state in it: everything random is a function of (seed, step).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from fastbat.errors import Damaged, InputError
from fastbat.files import load_tensors, save_tensors
from fastbat.methods import Method
from fastbat.methods.remedy import remedy, remedy_of, steps_of
from fastbat.models import as_of_now
from fastbat.runtime.processes import agreed, on_first, share_tensors, together, world
from fastbat.training.alarm import Alarm
from fastbat.training.capture import Captured
from fastbat.training.compile import Compiled
from fastbat.training.gradients import Sums, add
from fastbat.training.memory import own_memory, whole_memory
from fastbat.training.run import changed, different
from fastbat.training.task import Task

KIND = "training state"
STATED = {"epoch", "bests", "highest_ra", "discarded", "config", "dataset", "model"}  # what a state says of itself
NONE = (-1.0, -1.0)  # (ra, sa) of a best epoch, where there is none
FILES = {"model": "", "ema": "-ema"}  # what comes behind best and last in the name of a model's file


@dataclass(frozen=True)
class Saved:
    """A state on disk."""

    path: Path
    tensors: dict[str, Tensor]
    about: dict[str, Any]  # what it says of itself


@dataclass
class PartialEpoch:
    """What is known of the epoch that runs."""

    updates: int = 0  # made, or skipped for want of a loss
    seconds: float = 0.0
    sums: Sums = field(default_factory=dict)  # of the means for its record
    losses: dict[int, Tensor] = field(default_factory=dict)  # by number of the update in the epoch

    def add(self, found: Mapping[str, Tensor], images: int) -> None:
        """Count an update on so many images, in which a mean loss and other means were `found`; nothing: skipped."""
        if found:
            self.losses[self.updates] = found["loss"]
        for name, value in found.items():
            add(self.sums, name, value, images)
        self.updates += 1


@dataclass
class State:
    """The networks, their optimizer, and what is known of the epochs so far."""

    method: Method  # in charge: the task's, or the remedy after a collapse
    models: dict[str, nn.Module]  # "model" is trained; "ema", if there is one, is its moving average
    net: nn.Module  # "model" as its passes run: compiled or not, in the precision of the training
    compiled: Compiled | None
    captured: Captured | None  # the passes of "net"
    optimizer: SGD
    epoch: int = 0  # that are finished
    partial: PartialEpoch = field(default_factory=PartialEpoch)
    best_ra: float = -1.0  # on validation images, of all epochs kept; with init_from of the weights before them
    best: dict[str, tuple[float, float]] = field(default_factory=dict)  # (ra, sa) of each model's best epoch
    discarded: list[dict[str, Any]] = field(default_factory=list)  # records of the next epoch that were taken back
    alarm: Alarm = field(default_factory=Alarm)

    @property
    def model(self) -> nn.Module:
        """The network that is trained."""
        return self.models["model"]

    def method_at(self, step: int) -> Method:
        """Return the method that makes update `step`: the one in charge, or one of more steps after an alarm."""
        return (step < self.alarm.until and remedy(self.method)) or self.method

    @property
    def replays(self) -> int:
        """How often each batch is presented."""
        return self.method.traits.replays

    def about(self, task: Task) -> dict[str, Any]:
        """Return what the weights say of themselves."""
        return {**task.about(), "epoch": self.epoch, **self.remedy_record(task)}

    def remedy_record(self, task: Task) -> dict[str, int]:
        """Return what weights and records say of a remedy in charge; nothing of the task's own method."""
        return {} if self.method is task.method else {"remedy_steps": steps_of(self.method)}


def save_state(path: Path, task: Task, state: State, kept: Path | None = None) -> None:
    """Write the state, as it is after its last update; the file that was there is then `kept`, if that is given.

    Of several processes the first one writes, what is in the memory of the others too.
    """
    tensors = {f"{kind}/{name}": t for kind, model in state.models.items() for name, t in model.state_dict().items()}
    for name, weight in state.model.named_parameters():
        momentum = state.optimizer.state[weight].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    tensors |= {f"memory/{name}": tensor for name, tensor in whole_memory(state.method).items()}
    known = {"bests": state.best, "highest_ra": state.best_ra, "discarded": state.discarded}
    if state.alarm.updates:
        tensors |= {"alarm/fast": state.alarm.fast, "alarm/slow": state.alarm.slow}
        known["alarm"] = {"updates": state.alarm.updates, "until": state.alarm.until}
    if state.partial.updates:
        more, known["partial"] = packed(state)
        tensors |= more
    about = {**state.about(task), **known, "kind": KIND}
    on_first(lambda: save_tensors(path, tensors, about, kept))


def packed(state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what is known of the epoch that runs, as tensors and as JSON."""
    partial, tensors = state.partial, dict[str, Tensor]()
    tensors |= {f"sums/{name}": total for name, (total, _) in partial.sums.items()}
    if partial.losses:
        tensors["losses/values"] = torch.stack(list(partial.losses.values()))
        tensors["losses/numbers"] = torch.tensor(list(partial.losses))
    known: dict[str, Any] = {"updates": partial.updates, "seconds": partial.seconds}
    known |= {"images": [(name, count) for name, (_, count) in partial.sums.items()]}  # in their order
    return tensors, known | {"compiled_for": state.compiled.size if state.compiled else 0}


def load_state(path: Path) -> Saved:
    """Return the state in the file `path`; Damaged where that is not a whole one."""
    tensors, found = load_tensors(path)
    if found.get("kind") != KIND:
        raise Damaged(f"{str(path)!r} holds {found.get('kind', 'weights')}, not a {KIND}; copy it again")
    if lacks := sorted(STATED - found.keys()):
        raise Damaged(
            f"{str(path)!r} has no {lacks[0]}: it was altered, or another version of fastbat wrote it; use that"
        )
    return Saved(path, tensors, found)


def shared_state(saved: Saved | None) -> Saved:
    """Return on all processes the state that the first one has; the others have None."""
    tensors = saved.tensors if saved else {}
    path, about, shapes = agreed(
        saved and (saved.path, saved.about, {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()})
    ) or (Path(), {}, {})
    tensors = tensors or {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in shapes.items()}
    share_tensors(tensors[name] for name in shapes)
    return Saved(path, tensors, about)


def restore_state(saved: Saved, task: Task, state: State) -> None:
    """Let `state` be the one that was `saved`; InputError where that belongs to other settings or images."""
    with together():
        check_belongs(saved, task.about())
    tensors, found = saved.tensors, saved.about
    state.method = remedy_of(found["remedy_steps"], task.method.eps) if "remedy_steps" in found else task.method
    state.epoch, state.best_ra, state.discarded = found["epoch"], found["highest_ra"], found["discarded"]
    state.best = {kind: tuple(best) for kind, best in found["bests"].items()}

    def part(kind: str) -> dict[str, Tensor]:
        return {k.removeprefix(f"{kind}/"): t.to(task.device) for k, t in tensors.items() if k.startswith(f"{kind}/")}

    for kind, model in state.models.items():
        model.load_state_dict(part(kind))
    state.optimizer.zero_grad()
    state.optimizer.state.clear()
    for name, momentum in part("momentum").items():
        weight = state.model.get_parameter(name)
        state.optimizer.state[weight]["momentum_buffer"] = torch.empty_like(weight).copy_(momentum)  # in its layout
    state.method.load_state_dict(own_memory(state.method, part("memory")))
    heard, means = found.get("alarm", {"updates": 0, "until": 0}), part("alarm")
    state.alarm = Alarm(heard["updates"], heard["until"], **means)
    known = found.get("partial", {"updates": 0, "seconds": 0.0, "images": {}, "compiled_for": 0})
    state.partial = unpacked(known, part("sums"), part("losses"))
    if state.compiled:
        state.compiled.size = known["compiled_for"] if world() == 1 else 0  # the first process's share of a batch


def unpacked(known: Mapping[str, Any], sums: Mapping[str, Tensor], losses: Mapping[str, Tensor]) -> PartialEpoch:
    """Return what was known of the epoch that ran, from what `packed` made of it."""
    partial = PartialEpoch(known["updates"], known["seconds"])
    partial.sums = {name: (sums[name].clone(), count) for name, count in dict(known["images"]).items()}
    if losses:
        partial.losses = dict(zip(losses["numbers"].tolist(), losses["values"].clone().unbind(), strict=True))
    return partial


def check_belongs(saved: Saved, about: Mapping[str, Any]) -> None:
    """Raise InputError unless the state `saved` belongs to what `about` says."""
    wanted = json.loads(json.dumps(about))
    for part, same in (("config", changed), ("dataset", different), ("model", different)):
        was = saved.about[part] if part == "dataset" else as_of_now(saved.about[part])
        if names := same(was, wanted[part]):
            what = f"{part} ({names[0]})"
            raise InputError(f"{str(saved.path)!r} was written with another {what}; train again, into another --out")
