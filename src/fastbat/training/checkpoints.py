"""When the state of a run goes to disk, and which file a training goes on from.

RUN/
  last.ckpt        the state after the last finished epoch
  previous.ckpt    after the one before, until the run is finished
  step.ckpt        within the epoch that runs: every --checkpoint-every, and where a signal ends the training

A file is read back before it takes the place of another. One that was damaged since is noticed, and the newest whole
one used. Of several processes the first has these files; all of them take what it reads.
"""

import json
import math
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import torch

from fastbat.errors import Damaged, InputError, Stopped
from fastbat.files import read_metadata, read_records, read_safetensors, write_records
from fastbat.methods import METHODS
from fastbat.progress import say
from fastbat.runtime.processes import largest, on_first, rank, together, world
from fastbat.training.finite import check_finite
from fastbat.training.interval import Interval
from fastbat.training.run import Run
from fastbat.training.signals import Signals
from fastbat.training.state import (
    FILES,
    NONE,
    Saved,
    State,
    check_belongs,
    load_state,
    restore_state,
    save_state,
    shared_state,
)
from fastbat.training.task import Task

VOTE = 8  # updates between two votes of several processes on what each has noted


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
            self.state.best = on_first(self.checked_best)

    def restore_epoch(self) -> None:
        """Let the state be the newest on disk that is between two epochs."""
        self.restore_newest([file for file in self.run.states if file != self.run.step])

    def restore_newest(self, files: Sequence[Path]) -> None:
        """Let the state be the newest in `files` that is whole, and metrics.jsonl that of its epochs."""
        with together():
            saved = newest_whole(files, self.task.about()) if rank() == 0 else None
        saved = shared_state(saved)
        restore_state(saved, self.task, self.state)
        path = saved.path
        on_first(lambda: self.keep_files_of(path))
        self.start_interval()

    def keep_files_of(self, path: Path) -> None:
        """Let the files be those of the state, which is that in `path`."""
        if path == self.run.previous:
            path.replace(self.run.state)  # or else a damaged one would be the previous of the next
        self.cut_records()

    def cut_records(self) -> None:
        """Leave in metrics.jsonl the epochs that are behind the state; say which of them were lost."""
        done = range(1, self.state.epoch + 1)
        records = [record for record in read_records(self.run.metrics) if record["epoch"] in done]
        if lost := sorted({*done} - {record["epoch"] for record in records}):
            say(f"{self.run.metrics} has no record of epochs {', '.join(map(str, lost))}; the weights have them")
        write_records(self.run.metrics, records)

    def checked_best(self) -> dict[str, tuple[float, float]]:
        """Return the best epochs; one whose weights were lost or damaged is none, and a later one takes its place."""
        found = dict(self.state.best)
        for kind, best in found.items():
            try:
                if best > NONE:
                    read_safetensors(self.run.weights(f"best{FILES[kind]}"))
            except InputError as error:
                found[kind] = NONE
                say(f"{str(error).rpartition(';')[0]}; the best of the epochs to come takes its place")
        return found

    def save_epoch(self) -> None:
        """Write the state after an epoch; the one before is kept."""
        save_state(self.run.state, self.task, self.state, kept=self.run.previous)
        on_first(lambda: self.run.step.unlink(missing_ok=True))
        self.start_interval()

    def save_step(self) -> None:
        """Write the state within an epoch, unless it is on disk; raises DivergedError if it is not finite."""
        if self.state.partial.updates > self.kept:
            check_finite(self.state)
            save_state(self.run.step, self.task, self.state)
        self.start_interval()

    def finish(self) -> None:
        """Remove what nobody needs any more: all epochs are on disk."""
        on_first(self.remove_other_states)

    def remove_other_states(self) -> None:
        """Leave the newest state alone in the folder."""
        for file in (self.run.previous, self.run.step):
            file.unlink(missing_ok=True)

    def between_updates(self) -> None:
        """Write the state if it is time; raises Stopped, with the state on disk, if a signal came."""
        number, seconds = self.vote()
        if number:
            self.stop(number)
        updates = self.state.partial.updates - self.kept
        if updates >= self.interval.updates or seconds >= self.interval.seconds:
            self.save_step()

    def vote(self) -> tuple[int, float]:
        """Return the signal that came, 0 for none, and the seconds since the state was on disk.

        Several processes ask each other now and then, and have the same answer: the clock is the first one's.
        """
        noted, seconds = self.signals.noted or 0, time.monotonic() - self.time
        if world() == 1:
            return noted, seconds
        if self.state.partial.updates % VOTE and self.state.partial.updates < self.updates:
            return 0, 0.0
        noted, seconds = largest(torch.tensor([noted, seconds * (rank() == 0)], dtype=torch.float64)).tolist()
        return int(noted), seconds

    @property
    def updates(self) -> int:
        """The updates of the epoch that runs."""
        number = self.state.epoch + 1
        return (self.task.steps(number, 1) - self.task.steps(number - 1, 1)) * self.state.replays

    @contextmanager
    def between_epochs(self) -> Iterator[None]:
        """Let a signal end the block at once, which leaves the state as it is; raises Stopped as above.

        Of several processes none may leave the others alone in it: they end at the next update.
        """
        if world() > 1:
            yield
            return
        try:
            with self.signals.at_once():
                yield
        except KeyboardInterrupt:
            if not self.signals.noted:
                raise
            self.stop(self.signals.noted)

    def stop(self, number: int) -> NoReturn:
        """Write the state, and raise Stopped for the signal `number`."""
        self.save_step()
        command = f"fastbat train --out {shlex.quote(str(self.run.path))} --resume"
        if world() > 1:  # as on this machine; any other number will do
            command = f"torchrun --nproc-per-node {os.environ.get('LOCAL_WORLD_SIZE', world())} -m {command}"
        how = command if type(self.task.method) in METHODS.values() else "fastbat.train(..., resume=True)"
        done = f"stopped in epoch {self.state.epoch + 1} after {self.state.partial.updates} of {self.updates} updates"
        raise Stopped(f"{done}; resume with: {how}", number)


def newest_whole(files: Sequence[Path], about: Mapping[str, Any]) -> Saved:
    """Return the newest state in `files` that is whole and belongs to what `about` says, and say which are not so.

    Raises InputError where none is.
    """
    unfit = list[InputError]()
    for file in sorted(files, key=position, reverse=True):
        try:
            saved = load_state(file)
            check_belongs(saved, about)
        except InputError as error:
            unfit.append(error)
            continue
        for each in unfit:
            say(f"{str(each).rpartition(';')[0]}; it is left out, and {str(file)!r} is used")
        return saved
    if not isinstance(unfit[0], Damaged):
        raise unfit[0]
    way = f"start from its weights: {Run(files[0].parent).onward} --out NEW"
    raise Damaged(f"{str(unfit[0]).rpartition(';')[0]}, and no other checkpoint is whole; {way}")


def position(file: Path) -> tuple[float, ...]:
    """Return how far a training had come that wrote `file`: epochs, tries of the next one, updates in it.

    One that does not say comes behind all, to be looked at first.
    """
    with suppress(KeyError, ValueError, TypeError, AttributeError):
        about = json.loads(read_metadata(file)["fastbat"])
        return float(about["epoch"]), len(about["discarded"]), about.get("partial", {}).get("updates", 0)
    return (math.inf,)
