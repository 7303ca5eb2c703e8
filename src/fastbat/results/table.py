"""Results as plain rows: each accuracy over its seeds, and the difference of every two arms of a group.

    pandas.DataFrame(table("compared"))        polars.DataFrame(differences("compared"))

The report draws the same cells (results/rows.py), so a number is computed once.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from fastbat.evaluation.interval import spread_ratio
from fastbat.files import replacing
from fastbat.results.names import instead, scale_of
from fastbat.results.origin import commit, machine, same
from fastbat.results.place import difference
from fastbat.results.read import Found, read
from fastbat.results.rows import Cell, Group, Row, cell_of, groups_of
from fastbat.results.state import fell

SCALE = ("dataset", "model", "width", "train_limit", "epochs")
ENDINGS = (".csv", ".parquet")
PAIRED = "paired on the same images, seed by seed"
UNPAIRED = "not paired: the ends of two intervals"

Line = dict[str, Any]


def table(*folders: Path | str) -> list[Line]:
    """Return a line for each model, weights, attack and budget, with all seeds of the model in it.

    Args:
        folders: those of suites, runs and audits, as for `fastbat report`.

    Returns:
        What was trained and measured, `n` images, `seeds`, accuracies `by_seed`, and over seeds their mean `percent`,
        its 95 % interval `low`, `high` over images and seeds, and the standard deviation `std`; None: not known.

    Raises:
        InputError: If a folder holds no records.
    """
    found = read([Path(folder) for folder in folders])
    return lines(groups_of(found), found)


def differences(*folders: Path | str) -> list[Line]:
    """Return a line for every two arms of equal scale under each attack: `one` less `other`.

    Args:
        folders: as of `table`.

    Returns:
        The `difference` in points with its 95 % interval and the `test` that it is of; the standard deviations over
        seeds, their ratio and its 95 % F interval. No interval is corrected for the number of comparisons.

    Raises:
        InputError: If a folder holds no records.
    """
    found = read([Path(folder) for folder in folders])
    kept: dict[tuple[Any, ...], Line] = {}
    for group in groups_of(found):
        for one, other in combinations(group.rows, 2):
            for attack in one.cells if one.checkpoint == other.checkpoint else ():
                if attack in other.cells:
                    cells = identity(one, one.cells[attack]), identity(other, other.cells[attack])
                    if cells[::-1] not in kept:
                        kept.setdefault(cells, {**of_group(group, found), **compared(one, other, attack)})
    return list(kept.values())


def lines(groups: Sequence[Group], found: Found) -> list[Line]:
    """Return the lines of `table`: the accuracies at the budgets of the groups, then those at others."""
    rows = [(group, row) for group in groups for row in group.rows]
    kept: dict[tuple[Any, ...], Line] = {}
    for cells_of in (lambda row: row.cells.values(), cells_at_any_budget):
        for group, row in rows:
            for cell in cells_of(row):
                line = {**of_group(group, found), **of_row(row), **of_cell(cell)}
                kept.setdefault(identity(row, cell), line)
    return list(kept.values())


def identity(row: Row, cell: Cell) -> tuple[Any, ...]:
    """Return what is the same of an accuracy in every group that shows it: its weights, attack and budget."""
    return (*map(id, row.trials), row.checkpoint, cell.parts[0].attack, cell.parts[0].eps_255)


def cells_at_any_budget(row: Row) -> Iterator[Cell]:
    """Yield every accuracy of the weights of a row."""
    every = [each for trial in row.trials for each in trial.evaluations if each.checkpoint == row.checkpoint]
    for attack, eps in dict.fromkeys((a.attack, a.eps_255) for each in every for a in each.accuracies):
        if cell := cell_of(row.trials, row.checkpoint, attack, eps):
            yield cell


def of_group(group: Group, found: Found) -> Line:
    """Return what the rows of a group share."""
    return {"suite": found.sources[group.source].name, "title": group.title, "group": group.id}


def of_row(row: Row) -> Line:
    """Return what was trained."""
    first, cost = row.trials[0], row.cost
    settings = {name: scale_of(first, name) for name in SCALE}
    return {
        "method": first.setting("method") or first.name,
        "arm": row.note,
        **settings,
        "stand_in": instead(first) or None,
        "trained_eps_255": first.eps_255,
        "weights": row.checkpoint,
        "collapsed": sum(fell(trial.epochs) for trial in row.trials),
        "training_seconds": cost and cost.seconds,
        "times_fast_at": cost.value if cost and cost.relative else None,
        "red_flags": [name for name, _ in row.flags],
    }


def of_cell(cell: Cell) -> Line:
    """Return an accuracy over its seeds."""
    printed = cell.paper[0] if cell.paper else None
    return {
        "attack": cell.parts[0].attack,
        "label": cell.label,
        "eps_255": cell.parts[0].eps_255,
        "n": cell.n,
        "seeds": list(cell.seeds),
        "by_seed": [part.percent for part in cell.parts],
        "percent": cell.percent,
        "low": cell.low,
        "high": cell.high,
        "std": cell.std,
        "upper_bound": any(part.upper_bound for part in cell.parts),
        "paper": printed and printed.mean,
        "paper_std": printed and printed.std,
        "paper_table": printed and printed.table,
        "commit": same(commit(each.settings) for each in cell.measured),
        "machine": same(machine(each.settings) for each in cell.measured),
    }


def compared(one: Row, other: Row, attack: str) -> Line:
    """Return the difference of two rows under an attack, and the ratio of their spreads over seeds."""
    a, b = one.cells[attack], other.cells[attack]
    paired = difference(a, b)
    gain, low, high = paired or (a.percent - b.percent, a.low - b.high, a.high - b.low)
    ratio, least, most = spread_ratio([part.percent for part in a.parts], [part.percent for part in b.parts])
    return {
        "weights": one.checkpoint,
        "label": a.label,
        "eps_255": a.parts[0].eps_255,
        "n": a.n,
        "one": one.full_name,
        "other": other.full_name,
        "seeds": [seed for seed in a.seeds if seed in b.seeds] if paired else [],
        "difference": gain,
        "low": low,
        "high": high,
        "test": PAIRED if paired else UNPAIRED,
        "std_one": a.std,
        "std_other": b.std,
        "std_ratio": ratio,
        "ratio_low": least,
        "ratio_high": most,
    }


def write_table(rows: Sequence[Mapping[str, Any]], file: Path) -> Path:
    """Write rows to a .csv or .parquet file, and return its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as out:
        if file.suffix == ".csv":
            out.write(as_csv(rows).encode())
        else:
            import pyarrow as pa
            from pyarrow import parquet

            parquet.write_table(pa.Table.from_pylist(list(rows)), out)
    return file


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV; a list is its values with blanks between."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0] if rows else ())
    writer.writerows([[cell_text(value) for value in row.values()] for row in rows])
    return text.getvalue()


def cell_text(value: Any) -> Any:
    """Return a value as CSV has it; of text that a spreadsheet takes for a formula nothing is run."""
    if isinstance(value, list):
        value = " ".join(map(str, value))
    formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if formula else value
