"""When the state of a run goes to disk, and which file a training goes on from.

RUN/
  last.ckpt        the state after the last finished epoch
  previous.ckpt    after the one before, until the run is finished
  step.ckpt        within the epoch that runs: every --checkpoint-every, and where a signal ends the training

A file is read back before it takes the place of another. One that was damaged since is noticed, and the newest whole
one used.
"""

import json
import math
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from fastbat.errors import Damaged, InputError, Stopped
from fastbat.files import read_metadata, read_records, read_safetensors, write_records
from fastbat.methods import METHODS
from fastbat.progress import say
from fastbat.training.finite import check_finite
from fastbat.training.interval import Interval
from fastbat.training.run import Run
from fastbat.training.signals import Signals
from fastbat.training.state import FILES, NONE, Saved, State, load_state, restore_state, save_state
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
        self.restore_newest(self.run.states)
        if self.state.epoch < self.task.epochs:
            self.check_best()

    def restore_epoch(self) -> None:
        """Let the state be the newest on disk that is between two epochs."""
        self.restore_newest([file for file in self.run.states if file != self.run.step])

    def restore_newest(self, files: Sequence[Path]) -> None:
        """Let the state be the newest in `files` that is whole, and metrics.jsonl that of its epochs."""
        saved = newest_whole(files)
        restore_state(saved, self.task, self.state)
        if saved.path == self.run.previous:
            saved.path.replace(self.run.state)  # or else a damaged one would be the previous of the next
        records, epochs = read_records(self.run.metrics), self.state.epoch
        write_records(self.run.metrics, [record for record in records if record["epoch"] <= epochs])
        self.start_interval()

    def check_best(self) -> None:
        """Let the best epoch be none so far if its weights were lost or damaged: a later one takes its place."""
        for kind, best in self.state.best.items():
            try:
                if best > NONE:
                    read_safetensors(self.run.weights(f"best{FILES[kind]}"))
            except InputError as error:
                self.state.best[kind] = NONE
                say(f"{str(error).rpartition(';')[0]}; the best of the epochs to come takes its place")

    def save_epoch(self) -> None:
        """Write the state after an epoch; the one before is kept."""
        save_state(self.run.state, self.task, self.state, kept=self.run.previous)
        self.run.step.unlink(missing_ok=True)
        self.start_interval()

    def save_step(self) -> None:
        """Write the state within an epoch, unless it is on disk; raises DivergedError if it is not finite."""
        if self.state.partial.updates > self.kept:
            check_finite(self.state)
            save_state(self.run.step, self.task, self.state)
        self.start_interval()

    def finish(self) -> None:
        """Remove what nobody needs any more: all epochs are on disk."""
        self.run.previous.unlink(missing_ok=True)

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


def newest_whole(files: Sequence[Path]) -> Saved:
    """Return the newest state in `files` that is whole, and say which are not; Damaged where none is."""
    damaged = list[Damaged]()
    for file in sorted(files, key=position, reverse=True):
        try:
            saved = load_state(file)
        except Damaged as error:
            damaged.append(error)
            continue
        for each in damaged:
            say(f"{str(each).rpartition(';')[0]}; it is left out, and {str(file)!r} is used")
        return saved
    raise damaged[0]


def position(file: Path) -> tuple[float, ...]:
    """Return how far a training had come that wrote `file`: epochs, tries of the next one, updates in it.

    One that does not say comes behind all, to be looked at first.
    """
    with suppress(KeyError, ValueError, TypeError, AttributeError):
        about = json.loads(read_metadata(file)["fastbat"])
        return float(about["epoch"]), len(about["discarded"]), about.get("partial", {}).get("updates", 0)
    return (math.inf,)
