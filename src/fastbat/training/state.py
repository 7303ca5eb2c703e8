"""How far a run has come: what changes from step to step, and the file that it goes on from.

last.ckpt holds weights, their average, momenta and the method's memory under one checksum. There is no generator's
state in it: everything random is a function of (seed, step).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from fastbat.errors import InputError
from fastbat.files import load_tensors, save_tensors
from fastbat.methods import Method
from fastbat.models import as_of_now
from fastbat.training.compile import Compiled
from fastbat.training.overfitting import pgd_at
from fastbat.training.run import changed, different
from fastbat.training.task import Task

FILES = {"model": "", "ema": "-ema"}  # what comes behind best and last in the name of a model's file


@dataclass
class State:
    """The networks, their optimizer, and what is known of the epochs so far."""

    method: Method  # in charge: the task's, or the remedy after a collapse
    models: dict[str, nn.Module]  # "model" is trained; "ema", if there is one, is its moving average
    net: nn.Module  # "model" as its passes run: compiled or not, in the precision of the training
    compiled: Compiled | None
    optimizer: SGD
    epoch: int = 0  # that are finished
    best_ra: float = -1.0  # on validation images, of all epochs kept; with init_from of the weights before them
    best: dict[str, tuple[float, float]] = field(default_factory=dict)  # (ra, sa) of each model's best epoch
    discarded: list[dict[str, Any]] = field(default_factory=list)  # records of the next epoch that were taken back

    @property
    def model(self) -> nn.Module:
        """The network that is trained."""
        return self.models["model"]

    @property
    def replays(self) -> int:
        """How often each batch is presented."""
        return self.method.traits.replays

    def about(self, task: Task) -> dict[str, Any]:
        """Return what the weights say of themselves."""
        remedy = {} if self.method is task.method else {"remedy_steps": getattr(self.method, "steps", None)}
        return {**task.about(), "epoch": self.epoch, **remedy}


def save_state(path: Path, task: Task, state: State) -> None:
    """Write the state after its last finished epoch."""
    tensors = {f"{kind}/{name}": t for kind, model in state.models.items() for name, t in model.state_dict().items()}
    for name, weight in state.model.named_parameters():
        momentum = state.optimizer.state[weight].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    tensors |= {f"memory/{name}": tensor for name, tensor in state.method.state_dict().items()}
    known = {"bests": state.best, "highest_ra": state.best_ra, "discarded": state.discarded}
    save_tensors(path, tensors, {**state.about(task), **known, "kind": "training state"})


def restore_state(path: Path, task: Task, state: State) -> None:
    """Let `state` be the one that was written to `path`.

    Raises InputError where the file is damaged, or belongs to other settings or images than those of the task.
    """
    tensors, found = read_state(path, task.about())
    state.method = pgd_at(task.method.eps, found["remedy_steps"]) if "remedy_steps" in found else task.method
    state.epoch, state.best_ra, state.discarded = found["epoch"], found["highest_ra"], found["discarded"]
    state.best = {kind: tuple(best) for kind, best in found["bests"].items()}

    def part(kind: str) -> dict[str, Tensor]:
        return {k.removeprefix(f"{kind}/"): t.to(task.device) for k, t in tensors.items() if k.startswith(f"{kind}/")}

    for kind, model in state.models.items():
        model.load_state_dict(part(kind))
    state.optimizer.state.clear()
    for name, momentum in part("momentum").items():
        weight = state.model.get_parameter(name)
        state.optimizer.state[weight]["momentum_buffer"] = torch.empty_like(weight).copy_(momentum)  # in its layout
    state.method.load_state_dict(part("memory"))


def read_state(path: Path, about: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a state, and what it says of itself; InputError unless it belongs to what `about` says."""
    tensors, found = load_tensors(path)
    found |= {part: as_of_now(found[part]) for part in ("config", "model")}
    wanted = json.loads(json.dumps(about))
    for part, same in (("config", changed), ("dataset", different), ("model", different)):
        if same(found[part], wanted[part]):
            raise InputError(f"{str(path)!r} was written with another {part}; train again, into another --out")
    return tensors, found
