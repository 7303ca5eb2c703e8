"""What closer looks measured of Appendix E, over the seeds of an arm: gradients of mini-batches, and their decay.

bias, bias_error, variance, sigma2, gradient    by c and the size of the mini-batch (evaluation/minibatch.py)
mean_square                                     by c, size and steps T (evaluation/decay.py)
slope                                           of log mean_square against log T, by c and size: O(T^slope)
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import linear_regression, mean
from typing import NamedTuple

from fastbat.evaluation.interval import mean_over_seeds
from fastbat.results.origin import commit, machine, same
from fastbat.results.read import Found, Look, read
from fastbat.results.rows import Group, Row, groups_of
from fastbat.results.table import Line, of_group, of_row

OF_NOISE = ("bias", "bias_error", "variance", "sigma2", "gradient")


class Point(NamedTuple):
    """What a number is: its name, c of the implicit term, images of a batch, steps (None: of no number of them)."""

    what: str
    c: str
    batch: int
    steps: int | None


def gradients(*folders: Path | str) -> list[Line]:
    """Return a line for each number that closer looks measured of Appendix E, with all seeds of the arm in it.

    Args:
        folders: as of `table`.

    Returns:
        The arm and its `weights`; `what`, `c`, `batch`, `steps`, images `n`; values `by_seed`, their `mean`, and its
        95 % interval `low`, `high` over seeds (None of one).

    Raises:
        InputError: If a folder holds no records.
    """
    found = read([Path(folder) for folder in folders])
    return gradient_lines(found, groups_of(found))


def gradient_lines(found: Found, groups: Sequence[Group]) -> list[Line]:
    """Return the lines of `gradients` of what was read, whose rows are in `groups`."""
    arms: dict[tuple[int, ...], tuple[Group, Row]] = {}
    for group in groups:
        for row in group.rows:
            arms.setdefault(tuple(map(id, row.trials)), (group, row))
    return [{**of_group(group, found), **line} for group, row in arms.values() for line in of_arm(row, found.looks)]


def of_arm(row: Row, looks: Sequence[Look]) -> Iterator[Line]:
    """Yield the lines of the trainings of a row, whichever of their weights were looked at."""
    mine = [look for trial in row.trials for look in looks if look.trial is trial and points(look)]
    for weights in dict.fromkeys(look.checkpoint for look in mine):
        at = [look for look in mine if look.checkpoint == weights]
        for point in dict.fromkeys(point for look in at for point in points(look)):
            there = {look.trial.seed: look for look in at if point in points(look) and look.trial}
            values = [points(look)[point] for look in there.values()]
            low, high = mean_over_seeds(values)[1:] if len(values) > 1 else (None, None)
            yield {
                **of_row(row), "weights": weights, **point._asdict(),
                "n": min(look.about["train_images"] for look in there.values()),
                "seeds": list(there), "by_seed": values, "mean": mean(values), "low": low, "high": high,
                "commit": same(commit(look.settings) for look in there.values()),
                "machine": same(machine(look.settings) for look in there.values()),
            }  # fmt: skip


def points(look: Look) -> dict[Point, float]:
    """Return what a closer look measured of Appendix E; a decay that was not finite is left out."""
    found = {
        Point(name, row["of"], row["b"], None): float(row[name])
        for row in look.about.get("noise", ())
        for name in OF_NOISE
    }
    decays = {
        Point("mean_square", row["of"], row["batch"], row["steps"]): float(row["mean_square"])
        for row in look.about.get("decay", ())
        if row["mean_square"]
    }
    return found | decays | slopes(decays)


def slopes(decays: Mapping[Point, float]) -> dict[Point, float]:
    """Return the slope of the decay on logarithmic axes, by least squares, where there are two numbers of steps."""
    found = {}
    for c, batch in dict.fromkeys((point.c, point.batch) for point in decays):
        path = {point.steps: value for point, value in decays.items() if (point.c, point.batch) == (c, batch)}
        logs = [(math.log(steps), math.log(value)) for steps, value in path.items() if steps]
        if len(logs) > 1:
            found[Point("slope", c, batch, None)] = linear_regression(*zip(*logs, strict=True)).slope
    return found
