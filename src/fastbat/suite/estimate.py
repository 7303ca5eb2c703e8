"""What a suite will cost on this machine: a few steps of each kind of trial, timed, times the steps that it has.

An evaluation is counted in passes, a forward and a backward one together: K R of PGD-K-R, and of AutoAttack's parts 100
(apgd-ce), 900 (apgd-t, 9 targets), 1,300 (fab-t, 9 targets of 100 iterations with a forward pass more each), 2,000
(square: 5,000 forward passes).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from typing import Any

import torch

from fastbat.attacks import pgd
from fastbat.data import Batch
from fastbat.evaluation import frozen
from fastbat.methods import Method
from fastbat.runtime.device import synchronize
from fastbat.runtime.precision import in_precision
from fastbat.suite.trials import Trial, flags
from fastbat.training import Settings
from fastbat.training.epoch import update
from fastbat.training.prepare import prepare
from fastbat.training.state import State
from fastbat.training.task import Task

STEPS = 5  # the first is not counted
PASSES = {"fgsm": 1, "apgd-ce": 100, "apgd-t": 900, "fab-t": 1_300, "square": 2_000, "aa": 4_300, "transfer": 20}


@dataclass(frozen=True)
class Cost:
    """What one trial takes, at most: an image that is broken is attacked no more."""

    trial: str
    steps: int
    seconds_per_step: float  # median of 4
    selection: float  # seconds to judge one epoch, if no image leaves
    epochs: int
    evaluation: float  # seconds of all evaluations, if no image leaves

    @property
    def training_hours(self) -> float:
        """Training and selection."""
        return (self.steps * self.seconds_per_step + self.epochs * self.selection) / 3600

    @property
    def hours(self) -> float:
        """Training, selection and evaluation."""
        return self.training_hours + self.evaluation / 3600


Configure = Callable[[list[str]], tuple[Method, Settings]]


def estimate(trials: list[Trial], configure: Configure) -> list[Cost]:
    """Return the cost of each trial; trials that differ in their seed alone are measured once. Nothing is kept."""
    found: dict[str, Cost] = {}
    costs = []
    for trial in trials:
        kind = repr({name: value for name, value in trial.train.items() if name != "seed"})
        if kind not in found:
            found[kind] = measure(trial, *configure(flags(trial.train)))
        costs.append(replace(found[kind], trial=trial.name))
    return costs


def measure(trial: Trial, method: Method, settings: Settings) -> Cost:
    """Time a few training steps and a few steps of PGD."""
    task, state, _ = prepare(method, settings)
    seconds = []
    for step, batch in enumerate(islice(task.loader.epoch(0), STEPS)):
        seconds.append(timed(task, state, batch, step))
    one = pass_seconds(task, state, task.settings.batch_size)
    return cost_of(trial, task, state, median(seconds[1:] or seconds), one)


def timed(task: Task, state: State, batch: Batch, step: int) -> float:
    """Return the seconds of one update."""
    start = time.perf_counter()
    update(task, state, batch, step)
    synchronize(task.device)
    return time.perf_counter() - start


def cost_of(trial: Trial, task: Task, state: State, step: float, one: float) -> Cost:
    """Return the cost of a trial: `step` is the seconds of an update, `one` those of a pass of one image."""
    n, resolved = len(task.validation[1]), task.settings
    passes = (resolved.select_steps or 1) * (resolved.select_restarts or 1)
    selection = n * one * (passes if task.method.eps else 1)  # SA alone where there is no budget
    evaluation = one * sum(evaluation_passes(each, task.tests) for each in trial.evaluations)
    return Cost(trial.name, task.steps(task.epochs, state.replays), step, selection, task.epochs, evaluation)


def pass_seconds(task: Task, state: State, most: int) -> float:
    """Return the time of one pass, forward and backward, of an image: two PGD steps on `most` validation images."""
    (x, y), some = task.validation, min(len(task.validation[1]), most)
    net, eps = in_precision(state.model, task.settings.precision), task.method.eps or 1 / 255
    with frozen(net):
        start = time.perf_counter()
        pgd(net, x[:some], y[:some], torch.zeros_like(x[:some]), eps=eps, steps=2, step=eps)[0].sum().item()
        return (time.perf_counter() - start) / (2 * some)


def evaluation_passes(evaluation: Mapping[str, Any], images: int) -> int:
    """Return the passes of one evaluation over all its images."""
    restarted = int(evaluation.get("pgd_steps", 50)) * int(evaluation.get("pgd_restarts", 10))
    passes = PASSES | {"pgd": restarted, "pgd-highest-loss": restarted}
    attacks = [attack.strip() for attack in str(evaluation.get("attacks", "clean,pgd")).split(",")]
    budgets = len(str(evaluation.get("eps", "")).split(","))
    n = min(images, int(evaluation.get("limit", images)))
    return n * budgets * sum(passes.get(attack, 1) for attack in attacks)
