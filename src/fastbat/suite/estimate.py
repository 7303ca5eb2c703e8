"""What a suite will cost on this machine: a few steps of each kind of trial, timed, times the steps that it has."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from tempfile import TemporaryDirectory

import torch

from fastbat.attacks import pgd
from fastbat.evaluation import frozen
from fastbat.methods import Method
from fastbat.suite.trials import Trial, flags
from fastbat.training import Settings
from fastbat.training.trainer import Trainer, prepare

STEPS = 5  # the first is not counted


@dataclass(frozen=True)
class Cost:
    """What one trial's training takes, at most: an image that PGD breaks is attacked no more."""

    trial: str
    steps: int
    seconds_per_step: float  # median of 4
    selection: float  # seconds to judge one epoch, if no image leaves
    epochs: int

    @property
    def hours(self) -> float:
        """Training and selection; the evaluation afterwards is not in it."""
        return (self.steps * self.seconds_per_step + self.epochs * self.selection) / 3600


def estimate(trials: list[Trial], configure: Callable[[list[str]], tuple[Method, Settings]]) -> list[Cost]:
    """Return the cost of each trial; trials that differ in their seed alone are measured once. Nothing is kept."""
    found: dict[str, Cost] = {}
    costs = []
    for trial in trials:
        kind = repr({name: value for name, value in trial.train.items() if name != "seed"})
        if kind not in found:
            found[kind] = measure(trial.name, *configure(flags(trial.train)))
        costs.append(replace(found[kind], trial=trial.name))
    return costs


def measure(name: str, method: Method, settings: Settings) -> Cost:
    """Time a few updates and one selection of a run that is not written."""
    with TemporaryDirectory() as folder:
        trainer = prepare(method, settings, folder)
        seconds = []
        for step, batch in enumerate(islice(trainer.loader.epoch(0), STEPS)):
            start = time.perf_counter()
            trainer.update(batch, step)["loss"].item()
            seconds.append(time.perf_counter() - start)
        selection = selection_seconds(trainer)
    steps = trainer.loader.steps(trainer.epochs) * trainer.replays
    return Cost(name, steps, median(seconds[1:] or seconds), selection, trainer.epochs)


def selection_seconds(trainer: Trainer) -> float:
    """Return the time of two PGD steps on some validation images, scaled to all steps, restarts and images."""
    (x, y), settings = trainer.validation, trainer.settings
    some = min(len(y), settings.batch_size)
    net, eps = trainer.candidates["model"].net, trainer.method.eps or 1 / 255
    with frozen(net):
        start = time.perf_counter()
        pgd(net, x[:some], y[:some], torch.zeros_like(x[:some]), eps=eps, steps=2, step=eps)[0].sum().item()
        seconds = (time.perf_counter() - start) / (2 * some)
    share = 1 if trainer.method.eps else 1 / settings.select_steps / settings.select_restarts  # SA alone
    return seconds * len(y) * settings.select_steps * settings.select_restarts * share
