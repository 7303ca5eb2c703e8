"""From trials to the rows of the results: the seeds of an arm are one row, rows of equal scale are one group.

A row is about one budget of an attack. An evaluation has a row for each of its budgets; if they are enough for a
curve, one row, of the budget trained against if it has that, else of its first. Of several evaluations of the same
weights each accuracy is taken from the one with most images.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import stdev
from typing import Any

from fastbat.evaluation.interval import over_seeds
from fastbat.paper import Printed, printed
from fastbat.results.cost import Cost, costs
from fastbat.results.names import arm, notes, title
from fastbat.results.place import places
from fastbat.results.read import Found
from fastbat.results.records import Accuracy, Measured, Trial
from fastbat.results.state import Epochs, fell, guesses, in_words

ATTACKS = ("clean", "pgd", "aa")  # columns of the results; others have a table of their own
CHOSEN = ("", "best")  # weights that rows are ranked by
CURVE = 3  # budgets of one evaluation that make a curve


@dataclass(frozen=True)
class Cell:
    """An accuracy of a row: over its seeds, with an interval over images and seeds together."""

    percent: float
    low: float
    high: float
    parts: tuple[Accuracy, ...]  # one a seed
    measured: tuple[Measured, ...]  # the evaluation of each
    seeds: tuple[int | None, ...]
    masks: tuple[str, ...] = ()  # of each seed, where all are of the same images
    paper: tuple[Printed, ...] = ()

    @property
    def n(self) -> int:
        """Images."""
        return self.parts[0].n

    @property
    def label(self) -> str:
        """The field's name of it."""
        return self.parts[0].label

    @property
    def std(self) -> float | None:
        """The standard deviation over seeds, in points; None of a single seed."""
        return stdev(part.percent for part in self.parts) if len(self.parts) > 1 else None

    @property
    def images(self) -> Any:
        """The SHA-256 of the images."""
        return self.measured[0].settings.get("images")


@dataclass(frozen=True)
class Row:
    """An arm with one kind of weights, attacked at one budget."""

    id: str
    name: str
    told: dict[str, str]  # what tells it from others, by setting
    trials: tuple[Trial, ...]  # one a seed
    checkpoint: str
    eps_255: float  # of the attack
    cells: dict[str, Cell]
    place: tuple[int, int] | None = None
    cost: Cost | None = None

    @property
    def note(self) -> str:
        """What tells it from others."""
        return ", ".join(f"{name} {value}" for name, value in self.told.items())

    @property
    def full_name(self) -> str:
        """Its name and what tells it from others."""
        return self.name + (f" ({self.note})" if self.told else "")

    @property
    def short_name(self) -> str:
        """Its name for a chart: the values that tell it from others, without what they are of."""
        return " ".join([self.name, ", ".join(self.told.values())]).strip()

    @property
    def runs(self) -> tuple[Epochs, ...]:
        """The epochs of each seed."""
        return tuple(trial.epochs for trial in self.trials)

    @property
    def fallen(self) -> int:
        """Trainings that ended collapsed."""
        return sum(fell(epochs) for epochs in self.runs)

    @property
    def failed(self) -> bool:
        """Whether a training collapsed, or none is better than guessing."""
        return bool(self.fallen) or guesses(self.runs, self.classes)

    @property
    def chosen(self) -> bool:
        """Whether it is ranked: the weights of the best epoch, or the only ones."""
        return self.checkpoint in CHOSEN

    @property
    def classes(self) -> int | None:
        """Number of classes, where an evaluation says it."""
        return next((len(a.per_class) for cell in self.cells.values() for a in cell.parts if a.per_class), None)

    @property
    def state(self) -> str:
        """What became of its trainings, in a few words."""
        return in_words(self.runs, self.classes)

    @property
    def evaluations(self) -> list[Measured]:
        """The evaluations that its accuracies are from, each once."""
        every = [each for cell in self.cells.values() for each in cell.measured]
        return [each for i, each in enumerate(every) if not any(each is other for other in every[:i])]

    @property
    def flags(self) -> list[tuple[str, str]]:
        """Red flags raised, name and text."""
        return list(dict.fromkeys(flag for each in self.evaluations for flag in each.flags))

    @property
    def checked(self) -> str:
        """What may be said where no flag is raised."""
        if not any(each.budgets for each in self.evaluations):
            return "not attacked"
        if not all(each.looked_for_flags for each in self.evaluations):
            return "not checked"
        return "not judged" if any(each.not_judged for each in self.evaluations) else "none raised"


@dataclass(frozen=True)
class Group:
    """Rows of equal scale, which may be ranked together."""

    id: str
    title: str
    source: int
    eps_255: float
    trained_255: float | None  # where it is another
    rows: list[Row] = field(default_factory=list)

    @property
    def ranked(self) -> list[Row]:
        """The rows of the weights that were chosen."""
        return [row for row in self.rows if row.chosen]

    @property
    def key(self) -> str:
        """The attack that its rows are ranked by: AutoAttack if all have it, else PGD, else clean."""
        rows = [row for row in self.ranked if row.cells] or [row for row in self.rows if row.cells]
        return next(
            (name for name in ("aa", "pgd", "clean") if rows and all(name in row.cells for row in rows)), "clean"
        )


def groups_of(found: Found) -> list[Group]:
    """Return the groups in the order in which their trials come."""
    groups: dict[tuple[Any, ...], Group] = {}
    arms: dict[tuple[Any, ...], list[Trial]] = {}
    seen: Counter[tuple[Any, ...]] = Counter()
    for trial, eps, checkpoint in appearances(found.trials):
        source = found.sources[trial.source]
        trained = trial.eps_255 or eps
        space = trial.source if source.kind == "suite" else source.kind
        shape = tuple(repr(trial.setting(name)) for name in ("dataset", "model", "width", "train_limit"))
        key = (space, *shape, trained, eps)
        if key not in groups:
            name = source.title or (source.name if source.kind == "suite" else "")
            groups[key] = Group(f"g{len(groups) + 1}", name, trial.source, eps, trained if trained != eps else None)
        same = (key, arm(trial), checkpoint)
        seen[(*same, trial.seed)] += 1  # a second run of the same seed is a row of its own
        arms.setdefault((*same, seen[(*same, trial.seed)]), []).append(trial)
    return [
        filled(group, [(same[2], trials) for same, trials in arms.items() if same[0] == key])
        for key, group in groups.items()
    ]


def appearances(trials: Sequence[Trial]) -> Iterator[tuple[Trial, float, str]]:
    """Yield each trial with the budgets that it is attacked at, each with the weights that are."""
    for trial in trials:
        places: dict[tuple[float, str], None] = {}
        for each in sorted(trial.evaluations, key=lambda each: len(each.budgets)):
            for eps in budgets_shown(each, trial, [eps for eps, _ in places]):
                places[(eps, each.checkpoint)] = None
        attacked = any(eps for eps, _ in places)
        for eps, checkpoint in places or {(trial.eps_255 or 0.0, "best"): None}:
            if eps or not attacked:  # clean alone belongs to the attacks on the same weights
                yield trial, eps, checkpoint


def budgets_shown(each: Measured, trial: Trial, taken: Sequence[float]) -> Sequence[float]:
    """Return the budgets of an evaluation; of a curve the one trained against, else one `taken`, or its first."""
    if not each.budgets:
        return [trial.eps_255 or 0.0]
    if len(each.budgets) < CURVE:
        return each.budgets
    return [next((eps for eps in (trial.eps_255, *taken) if eps in each.budgets and eps), each.budgets[0])]


def filled(group: Group, arms: Sequence[tuple[str, list[Trial]]]) -> Group:
    """Return `group` with its rows, best first, their places and costs."""
    first = [trials[0] for _, trials in arms]
    differences = dict(zip(map(id, first), notes(first), strict=True))
    rows = []
    for i, (checkpoint, trials) in enumerate(arms):
        ordered = sorted(trials, key=lambda trial: (trial.seed is None, trial.seed))
        found = {name: cell_of(ordered, checkpoint, name, group.eps_255) for name in attacks_made(ordered, group)}
        cells = {name: cell for name, cell in found.items() if cell is not None}
        name, told = title(ordered[0]), differences[id(trials[0])]
        rows.append(Row(f"{group.id}-{i + 1}", name, told, tuple(ordered), checkpoint, group.eps_255, cells))
    group = replace(group, rows=rows)
    ranks, prices = places(group.ranked, group.key), costs(rows)
    rows = [replace(row, place=ranks.get(row.id), cost=prices.get(row.id)) for row in rows]
    return replace(group, rows=sorted(rows, key=lambda row: (-height(row, group.key), row.full_name)))


def height(row: Row, attack: str) -> float:
    """Return what a row is sorted by."""
    return row.cells[attack].percent if attack in row.cells else -1.0


def attacks_made(trials: Sequence[Trial], group: Group) -> list[str]:
    """Return the attacks made on these trials at the group's budget, those of the results first."""
    every = [a for trial in trials for each in trial.evaluations for a in each.accuracies]
    made = dict.fromkeys(a.attack for a in every if a.eps_255 in (0, group.eps_255))
    return [*(name for name in ATTACKS if name in made), *(name for name in made if name not in ATTACKS)]


def cell_of(trials: Sequence[Trial], checkpoint: str, attack: str, eps_255: float) -> Cell | None:
    """Return the accuracy of trials that differ in their seed alone; None where the attack was made on none of them."""
    best = [most_images(trial, checkpoint, attack, eps_255) for trial in trials]
    most = max((each[1].n for each in best if each), default=0)
    kept = [(trial, *each) for trial, each in zip(trials, best, strict=True) if each and each[1].n == most]
    if not kept:
        return None
    measured, parts = tuple(each for _, each, _ in kept), tuple(part for *_, part in kept)
    same = len({each.settings.get("images") for each in measured}) == 1 and all(part.mask for part in parts)
    masks = tuple(part.mask for part in parts) if same else ()
    percent, low, high = over_seeds([part.hits for part in parts], most, masks)
    paper = tuple(printed(trials[0].known, attack, eps_255)) if checkpoint == "best" else ()
    seeds = tuple(trial.seed for trial, *_ in kept)
    return Cell(percent, low, high, parts, measured, seeds, masks, paper)


def most_images(trial: Trial, checkpoint: str, attack: str, eps_255: float) -> tuple[Measured, Accuracy] | None:
    """Return the accuracy under `attack` of these weights that was made on most images, the latest among equals."""
    made = [(each, each.at(attack, eps_255)) for each in trial.evaluations if each.checkpoint == checkpoint]
    there = [(each, accuracy) for each, accuracy in made if accuracy is not None]
    return max(reversed(there), key=lambda pair: pair[1].n, default=None)
