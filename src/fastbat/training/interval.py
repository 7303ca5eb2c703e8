"""How often the state of a training goes to disk within an epoch: every N updates, or every N minutes."""

import math
import re
from dataclasses import dataclass

from fastbat.errors import InputError


@dataclass(frozen=True)
class Interval:
    """What has to pass since the last checkpoint; infinity: it does not count."""

    updates: float = math.inf
    seconds: float = math.inf

    @staticmethod
    def of(given: int | str) -> "Interval":
        """Return the interval `given`, as 500 (updates) or 10min; InputError where it is neither."""
        text = str(given).strip()
        if re.fullmatch(r"\d+", text) and int(text):
            return Interval(updates=int(text))
        if (minutes := re.fullmatch(r"(\d+|\d*\.\d+) *min", text)) and float(minutes[1]):
            return Interval(seconds=60 * float(minutes[1]))
        raise InputError(f"checkpoint_every is {given!r}; give a number of updates, such as 500, or minutes: 10min")
