"""What a training costs beside FAST-AT of the same group.

The median of measured steps times their number, where the suite's folder has an estimate.json; else the seconds that
the epochs took. Whatever else ran on the machine shows in these and only adds, so the fastest of the seeds counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

from fastbat.results.records import Trial

if TYPE_CHECKING:
    from fastbat.results.rows import Row


UNTIMED = "Costs are the seconds of the fastest seed's epochs, with whatever else ran on the machine."


@dataclass(frozen=True)
class Cost:
    """What a training of a row takes."""

    value: float
    relative: bool  # in FAST-AT's trainings; else seconds
    seconds: float
    timed: bool  # from a few steps that were timed, not from the epochs' own seconds

    @property
    def text(self) -> str:
        """The number as it is shown, with its unit."""
        return self.figure + (" x" if self.relative else " s")

    @property
    def words(self) -> str:
        """The number with its unit in words."""
        return f"{self.figure} {'times the training of FAST-AT' if self.relative else 'seconds of training'}"

    @property
    def figure(self) -> str:
        """The number alone."""
        return f"{self.value:.1f}" if self.value < 10 else f"{self.value:,.0f}"

    @property
    def note(self) -> str:
        """What it is made of."""
        if self.timed:
            return f"{self.seconds:,.0f} s: steps times the median of those that were timed (estimate.json)"
        return f"{self.seconds:,.0f} s for all epochs of the fastest seed; other work on the machine shows in them"


def costs(rows: Sequence[Row]) -> dict[str, Cost]:
    """Return the cost of each row by its id; nothing for a row whose epochs have no seconds."""
    timed = all(trial.estimated is not None for row in rows for trial in row.trials)
    found = {row.id: [trial.estimated or 0.0 if timed else spent(trial) for trial in row.trials] for row in rows}
    seconds = {id: mean(each) if timed else min(each) for id, each in found.items() if all(each)}
    plain = [row for row in rows if row.id in seconds and row.trials[0].setting("method") == "fast-at"]
    base = min(plain, key=lambda row: len(row.trials[0].train), default=None)
    unit = seconds[base.id] if base else 1.0
    return {id: Cost(each / unit, base is not None, each, timed) for id, each in seconds.items()}


def spent(trial: Trial) -> float:
    """Return the seconds of training, epochs that were taken back too, selection left out."""
    epochs = [each for epoch in trial.epochs for each in (epoch, *epoch.get("discarded", ()))]
    return float(sum(each.get("seconds", 0.0) for each in epochs))
