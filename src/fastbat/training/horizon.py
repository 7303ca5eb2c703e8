"""How far the average of the weights looks back: a decay d, or a share of the run.

A horizon of h updates is d = 1 - 1 / h: a share of 5 % of a run of N updates is h = 0.05 N.
"""

import re

from fastbat.errors import InputError


def decay_of(given: float | str, updates: int = 1) -> float:
    """Return the decay `given`, such as 0.9995, or that of a share `given` of all `updates`, such as 5%.

    Raises InputError if it is neither.
    """
    text = str(given).strip()
    if share := re.fullmatch(r"(\d+|\d*\.\d+) *%", text):
        horizon = float(share[1]) / 100 * updates
        if 0 < float(share[1]) <= 100:
            return 1 - 1 / max(horizon, 1.0)
    try:
        if 0 < float(text) < 1:
            return float(text)
    except ValueError:
        pass
    raise InputError(
        f"ema is {given!r}; give a decay between 0 and 1, such as 0.9995, or a share of the run, such as 5%"
    )
