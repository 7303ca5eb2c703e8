"""What the comparisons of a claim come to, each a number with its 95 % interval, from the sides that it names.

Accuracies and their spread over seeds, times, gradient alignment (GA) after the last epoch, and what Hessian-aware
training measures of Eq. 23 (`hessian`, `fallbacks`, in the mean over its epochs) are of one arm a side. So are
`loss_range` and `loss_bend` (evaluation/landscape.py), image by image, over the images and the seeds of both arms, and
`slope` (results/gradients.py) of mini-batches by c.
Some claims are of every training that a side fits, whatever its method:

    ga_fall         GA after the first collapsed epoch less the highest before it, in the mean over trainings
    ga_least_fall   the same of the training in which GA falls least: a number without an interval
    ga_sound        the lowest GA after the last epoch of a training that did not end collapsed
    ga_collapsed    the highest GA after a collapsed epoch
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from fastbat.evaluation.interval import mean_over_seeds, over_images_and_seeds, spread_ratio
from fastbat.lazy import np
from fastbat.results.gradients import points
from fastbat.results.place import apart, difference
from fastbat.results.read import Look
from fastbat.results.records import Trial
from fastbat.results.rows import Cell
from fastbat.results.sides import ACCURACIES, Side, fitting, plainest, trainings
from fastbat.results.state import Epochs, collapsed, fell

Interval = tuple[float, float, float]  # the estimate and its 95 % interval
Test = Mapping[str, Any]


class Made(NamedTuple):
    """What a comparison came to: no interval of seeds that are too few, or of an exception that was not met."""

    found: Interval | None
    seeds: int  # or trainings, where it is of all of them
    images: int = 0  # 0: of none


def make(test: Test, sides: Sequence[Side]) -> Made | None:
    """Return what one suite has of a comparison; None where a side was not measured."""
    found = [list(fitting({**test, **test[name]}, sides)) for name in "abcd" if name in test]
    metric = test["metric"]
    if metric in OF_ALL:
        return OF_ALL[metric](trainings(found[0]))
    there = [side for side in map(plainest, found) if side is not None]
    if len(there) < len(found):
        return None
    return relate(test, there) if metric in ACCURACIES else OF_ARMS[metric](test, there)


def relate(test: Test, sides: Sequence[Side]) -> Made:
    """Return what a test compares of accuracies."""
    cells = [side.cell for side in sides]
    return Made(related(test, cells), min(len(side.row.trials) for side in sides), min(cell.n for cell in cells))


def related(test: Test, cells: Sequence[Cell]) -> Interval | None:
    """Return what a test compares, with its 95 % interval; None of a spread over seeds that are too few."""
    if test.get("stat") == "std":
        ratio, low, high = spread_ratio(*([part.percent for part in cell.parts] for cell in cells))
        return None if ratio is None or low is None or high is None else (ratio, low, high)
    if test["relation"] == "a":
        return cells[0].percent, cells[0].low, cells[0].high
    if test["relation"] == "a / b":  # by the ends of both intervals: on the wide side
        a, b = cells
        return (a.percent / b.percent, a.low / b.high, a.high / b.low) if b.low else None
    one = less(*cells[:2])
    if test["relation"] == "a - b":
        return one
    other = less(*cells[2:])
    below, above = math.hypot(one[0] - one[1], other[2] - other[0]), math.hypot(one[2] - one[0], other[0] - other[1])
    return one[0] - other[0], one[0] - other[0] - below, one[0] - other[0] + above


def less(one: Cell, other: Cell) -> Interval:
    """Return an accuracy less another, paired if they can be."""
    return difference(one, other) or (one.percent - other.percent, *apart(one, other, 1))


def ratio_of_times(test: Test, sides: Sequence[Side]) -> Made | None:
    """Return the ratio of two trainings' times, medians of timed steps, without an interval."""
    one, other = (side.row.cost for side in sides)
    if not (one and other and one.timed and other.timed):
        return None
    ratio = one.seconds / other.seconds
    return Made((ratio, ratio, ratio), min(len(side.row.trials) for side in sides))


def less_alignment(test: Test, sides: Sequence[Side]) -> Made | None:
    """Return the GA of one arm less another's after their last epochs, over the seeds of both."""
    one, other = (
        {trial.seed: path[-1] for trial in side.row.trials if (path := recorded(trial.epochs, "ga"))} for side in sides
    )
    return over_seeds([value - other[seed] for seed, value in one.items() if seed in other], images_of(*sides))


def less_image_by_image(test: Test, sides: Sequence[Side]) -> Made | None:
    """Return what closer looks measured of each image of one arm less another's; None where the images differ."""
    one, other = ({each.trial.seed: each for each in side.looks if test["metric"] in each.flatness and each.trial}
                  for side in sides)  # fmt: skip
    pairs = [(each, other[seed]) for seed, each in one.items() if seed in other]
    values = [np.stack([each.flatness[test["metric"]] for each in looks]) for looks in zip(*pairs, strict=True)]
    if not pairs or len({looked_at(look) for pair in pairs for look in pair}) > 1:
        return None
    return Made(over_images_and_seeds(values[0] - values[1]), *values[0].shape)


def looked_at(look: Look) -> tuple[Any, ...]:
    """Return which images a closer look was at, and in which budget."""
    return look.settings.get("fingerprint"), look.about["n"], look.about["eps_255"]


def slope_of_decay(test: Test, sides: Sequence[Side]) -> Made | None:
    """Return the slope of log M(T) against log T, over seeds."""
    (side,) = sides
    values = [
        value
        for look in side.looks
        for point, value in points(look).items()
        if (point.what, point.c) == ("slope", test["a"]["c"]) and point.batch < look.about["train_images"]
    ]
    return over_seeds(values)


def over_training(test: Test, sides: Sequence[Side]) -> Made | None:
    """Return what the epochs recorded under the metric's name, in the mean over them and over seeds."""
    every = [recorded(trial.epochs, test["metric"]) for trial in sides[0].row.trials]
    return over_seeds([mean(values) for values in every if values])


def recorded(epochs: Epochs, name: str) -> list[float]:
    """Return a number by epoch, nothing where an epoch lacks it."""
    found = [float(epoch[name]) for epoch in epochs if epoch.get(name) is not None]
    return found if len(found) == len(epochs) else []


def over_seeds(values: Sequence[float], images: int = 0) -> Made | None:
    """Return the mean of a value over seeds, without an interval of one seed; None of none."""
    return Made(mean_over_seeds(values) if len(values) > 1 else None, len(values), images) if values else None


def images_of(*sides: Side) -> int:
    """Return on how many test images GA was measured."""
    return min(int(side.known.get("ga_images", 0)) for side in sides)


def falls(trials: Sequence[Trial]) -> list[float]:
    """Return, of each training that collapsed, GA after the first collapsed epoch less the highest before it."""
    found = []
    for trial in trials:
        path = recorded(trial.epochs, "ga")
        places = [i for i, epoch in enumerate(trial.epochs) if epoch["epoch"] in collapsed(trial.epochs)]
        if path and places and places[0] > 0:
            found.append(path[places[0]] - max(path[: places[0]]))
    return found


def fall(trials: Sequence[Trial]) -> Made | None:
    """Return the mean fall of GA with a collapse, over trainings."""
    return over_seeds(falls(trials))


def least_fall(trials: Sequence[Trial]) -> Made | None:
    """Return the least fall of GA with a collapse."""
    return extreme(max, falls(trials))


def lowest_of_sound(trials: Sequence[Trial]) -> Made | None:
    """Return the lowest GA of a training that did not end collapsed."""
    sound = [path[-1] for trial in trials if (path := recorded(trial.epochs, "ga")) and not fell(trial.epochs)]
    return extreme(min, sound)


def highest_of_collapsed(trials: Sequence[Trial]) -> Made | None:
    """Return the highest GA after a collapsed epoch."""
    found = [
        max(epoch["ga"] for epoch in trial.epochs if epoch["epoch"] in places)
        for trial in trials
        if recorded(trial.epochs, "ga") and (places := collapsed(trial.epochs))
    ]
    return extreme(max, found)


def extreme(choose: Callable[[Sequence[float]], float], values: Sequence[float]) -> Made | None:
    """Return the largest or least of some values, one a training, as a number without an interval."""
    return Made((choose(values),) * 3, len(values)) if values else None


OF_ARMS: dict[str, Callable[[Test, Sequence[Side]], Made | None]] = {
    "time": ratio_of_times, "ga": less_alignment, "hessian": over_training, "fallbacks": over_training,
    "loss_range": less_image_by_image, "loss_bend": less_image_by_image, "slope": slope_of_decay,
}  # fmt: skip
OF_ALL: dict[str, Callable[[Sequence[Trial]], Made | None]] = {
    "ga_fall": fall, "ga_least_fall": least_fall, "ga_sound": lowest_of_sound, "ga_collapsed": highest_of_collapsed,
}  # fmt: skip
