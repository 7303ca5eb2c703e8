"""What is shown beside a number on hover, tap and focus; in the page as JSON, and put there as text."""

from collections.abc import Iterable
from typing import Any

from fastbat.results.names import SHOWN, counted
from fastbat.results.origin import Lines, origin
from fastbat.results.records import Accuracy, Trial
from fastbat.results.rows import Cell, Row

LONG = {"clean": "classified correctly", "pgd": "withstood PGD", "aa": "withstood AutoAttack"}


class Cards:
    """The cards of a page: a title and lines each; origins that many share are kept once."""

    def __init__(self) -> None:
        self.cards: list[list[Any]] = []
        self.origins: list[Lines] = []

    def add(self, title: str, lines: Iterable[tuple[str, str]], source: int, where: Lines = ()) -> int:
        """Return the number of a new card; `source` is the place of its source, from 1."""
        if where not in self.origins:
            self.origins.append(where)
        kept = [list(line) for line in lines if line[1]]
        self.cards.append([title, kept, self.origins.index(where), source])
        return len(self.cards) - 1

    def accuracy(self, row: Row, attack: str) -> int:
        """Return the number of the card of an accuracy of a row."""
        cell = row.cells[attack]
        title = f"{cell.percent:.1f} % [{cell.low:.1f}, {cell.high:.1f}]"
        where = origin(row.trials, cell.measured)
        return self.add(title, lines_of(row, attack, cell), row.trials[0].source + 1, where)

    def one(self, trial: Trial, accuracy: Accuracy, name: str) -> int:
        """Return the number of the card of an accuracy of one model."""
        low, high = accuracy.interval
        lines = [("which", f"{accuracy.label} of {name}{at(accuracy.eps_255)}"), ("images", hits(accuracy))]
        made = next(each for each in trial.evaluations if accuracy in each.accuracies)
        where = origin([trial], [made])
        return self.add(f"{accuracy.percent:.1f} % [{low:.1f}, {high:.1f}]", lines, trial.source + 1, where)


def lines_of(row: Row, attack: str, cell: Cell) -> list[tuple[str, str]]:
    """Return what an accuracy is of, and how it was found."""
    lines = [("which", f"{cell.label} of {row.full_name}{at(0 if attack == 'clean' else row.eps_255)}")]
    if len(cell.parts) > 1:
        by_seed = ", ".join(f"{part.percent:.1f}" for part in cell.parts)
        lines += [
            ("seeds", f"{by_seed} % (seeds {', '.join(str(seed) for seed in cell.seeds)})"),
            ("spread", f"standard deviation {cell.std:.2f} points over seeds"),
            ("interval", "95 %, over seeds and images together"),
            ("images", f"{cell.n:,}, {'the same' if cell.masks else 'not known to be the same'} for every seed"),
        ]
    else:
        seed = cell.seeds[0]
        told = "seed not recorded" if seed is None else f"one seed, {seed}"
        lines += [("images", f"{hits(cell.parts[0], LONG.get(attack))}; {told}"), ("interval", "95 %, over the images")]
    if row.checkpoint:
        lines.append(("weights", f"{SHOWN[row.checkpoint]}, {epochs_of(cell)}"))
    if attack != "clean":
        lines.append(("search", search(cell)))
    if everything := with_all(row, cell):
        lines.append(("all attacks", everything))
    for printed in dict.fromkeys((p.mean, p.std) for p in cell.paper):
        tables = ", ".join(str(p.table) for p in cell.paper if (p.mean, p.std) == printed)
        sd = "" if printed[1] is None else f" ± {printed[1]:.2f}"
        lines.append(("paper", f"{printed[0]:.2f}{sd} %, Table {tables}; at its own scale"))
    return lines


def at(eps_255: float) -> str:
    """Return ` at eps 8/255`, nothing for clean images."""
    return f" at eps {eps_255:g}/255" if eps_255 else ""


def hits(accuracy: Accuracy, how: str | None = None) -> str:
    """Return `312 of 1,000 withstood PGD`."""
    return f"{accuracy.hits:,} of {accuracy.n:,}{f' {how}' if how else ''}"


def epochs_of(cell: Cell) -> str:
    """Return which epochs the weights are of."""
    epochs = [each.settings.get("epoch") for each in cell.measured]
    known = [str(epoch) for epoch in epochs if epoch is not None]
    return f"epoch {', '.join(known)}" if known else "epoch not recorded"


def search(cell: Cell) -> str:
    """Return how the adversarial examples were searched for."""
    seconds = [part.seconds for part in cell.parts if part.seconds is not None]
    rejected = sum(part.rejected for part in cell.parts)
    words = [
        f"in {cell.measured[0].settings.get('precision', 'a precision not recorded')}",
        f"{sum(seconds):,.0f} s" if seconds else "",
        f"{counted(rejected, 'example')} failed the check and did not count" if rejected else "",
        "black-box alone: an upper bound" if any(part.upper_bound for part in cell.parts) else "",
    ]
    return "; ".join(filter(None, words))


def with_all(row: Row, cell: Cell) -> str:
    """Return the share that withstands every attack made, where attacks disagree and the images are the same."""
    others = [each for each in row.cells.values() if each.masks and each.images == cell.images and each.n == cell.n]
    if len(row.trials) > 1 or not cell.masks or len(others) < 3:
        return ""
    together = (1 << 4 * len(cell.masks[0])) - 1
    for each in others:
        together &= int(each.masks[0], 16)
    share = together.bit_count()
    return f"{share:,} of {cell.n:,} withstand them all" if share < min(each.parts[0].hits for each in others) else ""
