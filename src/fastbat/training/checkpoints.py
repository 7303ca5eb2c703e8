"""When the state of a run goes to disk, and which file a training goes on from.

RUN/
  last.ckpt    the state after the last finished epoch
  step.ckpt    within the epoch that runs: every --checkpoint-every, and where a signal ends the training
"""

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from fastbat.errors import Stopped
from fastbat.files import read_metadata
from fastbat.methods import METHODS
from fastbat.training.interval import Interval
from fastbat.training.run import Run
from fastbat.training.signals import Signals
from fastbat.training.state import State, restore_state, save_state
from fastbat.training.task import Task


class Checkpoints:
    """Takes `state` to the files of `run` and back."""

    def __init__(self, run: Run, task: Task, state: State, signals: Signals) -> None:
        self.run, self.task, self.state, self.signals = run, task, state, signals
        self.interval = Interval.of(task.settings.checkpoint_every)
        self.start_interval()

    def start_interval(self) -> None:
        """Count updates and seconds from now on: the state is on disk."""
        self.kept, self.time = self.state.partial.updates, time.monotonic()

    def restore(self) -> None:
        """Let the state be the newest on disk."""
        restore_state(max(self.run.states, key=position), self.task, self.state)
        self.start_interval()

    def restore_epoch(self) -> None:
        """Let the state be the one after the last finished epoch."""
        restore_state(self.run.state, self.task, self.state)
        self.start_interval()

    def save_epoch(self) -> None:
        """Write the state after an epoch."""
        save_state(self.run.state, self.task, self.state)
        self.run.step.unlink(missing_ok=True)
        self.start_interval()

    def save_step(self) -> None:
        """Write the state within an epoch, unless it is on disk."""
        if self.state.partial.updates > self.kept:
            save_state(self.run.step, self.task, self.state)
        self.start_interval()

    def between_updates(self) -> None:
        """Write the state if it is time; raises Stopped, with the state on disk, if a signal came."""
        if self.signals.noted:
            self.stop()
        updates, seconds = self.state.partial.updates - self.kept, time.monotonic() - self.time
        if updates >= self.interval.updates or seconds >= self.interval.seconds:
            self.save_step()

    @contextmanager
    def between_epochs(self) -> Iterator[None]:
        """Let a signal end the block at once, which leaves the state as it is; raises Stopped as above."""
        try:
            with self.signals.at_once():
                yield
        except KeyboardInterrupt:
            if not self.signals.noted:
                raise
            self.stop()

    def stop(self) -> NoReturn:
        """Write the state, and raise Stopped."""
        self.save_step()
        number = self.state.epoch + 1
        updates = (self.task.steps(number, 1) - self.task.steps(number - 1, 1)) * self.state.replays
        command = f"fastbat train --out {shlex.quote(str(self.run.path))} --resume"
        how = command if type(self.task.method) in METHODS.values() else "fastbat.train(..., resume=True)"
        done = f"stopped in epoch {number} after {self.state.partial.updates} of {updates} updates"
        raise Stopped(f"{done}; resume with: {how}", self.signals.noted or 0)


def position(file: Path) -> tuple[int, int, int]:
    """Return how far a training had come that wrote `file`: epochs, tries of the next one, updates in it."""
    about = json.loads(read_metadata(file)["fastbat"])
    return about["epoch"], len(about["discarded"]), about.get("partial", {}).get("updates", 0)
