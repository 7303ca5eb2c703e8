"""What a suite will cost on this machine: a few steps of each kind of trial, timed, times the steps that it has."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from tempfile import TemporaryDirectory

from fastbat.methods import Method
from fastbat.suite.trials import Trial, flags
from fastbat.training import Settings
from fastbat.training.trainer import prepare

STEPS = 5  # the first is not counted


@dataclass(frozen=True)
class Cost:
    """What one trial's training takes."""

    trial: str
    steps: int
    seconds_per_step: float  # median of 4
    selection: float  # seconds to judge one epoch
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
        selection = trainer.select()["select_seconds"]
    steps = trainer.loader.steps(trainer.epochs) * trainer.replays
    return Cost(name, steps, median(seconds[1:] or seconds), selection, trainer.epochs)
