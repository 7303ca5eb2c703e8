"""Training curves: a small chart a row, all its seeds, before the robust accuracy of the others of its group."""

import math
from collections.abc import Sequence
from statistics import mean
from typing import Any

from markupsafe import Markup

from fastbat.report.svg import Margins, Plot, ticks, top_of
from fastbat.results.rows import Group, Row
from fastbat.results.state import Epochs, best_epoch, collapsed, robust

KEYS = ("val_sa", "val_ra", "val_one_step", "loss")
NAMES = ("SA", "RA", "one step", "loss")
ABOVE, BELOW = Margins(22, 6, 6, 56), Margins(22, 6, 124, 18)
SIZE = (200, 168)


def training(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the charts of each group whose rows have epochs."""
    found = []
    for group in groups:
        rows = [row for row in once(group.rows) if any(row.runs)]
        if rows:
            top = top_of(
                (e.get(k, 0.0) for r in rows for run in r.runs for e in run for k in KEYS[:3]), (20, 40, 60, 80, 100)
            )
            last = max(len(epochs) for row in rows for epochs in row.runs)
            loss = max((e.get("loss", 0.0) for r in rows for run in r.runs for e in run), default=1.0)
            spans = (0.6, last + 0.4), (0.0, top), (0.0, 1.05 * loss or 1.0)
            eps = ", ".join(filter(None, (group.title, f"eps {group.eps_255:g}" if group.eps_255 else "")))
            charts = [chart(row, spans, f"ctx-{group.id}") for row in rows]
            found.append({"title": eps, "id": group.id, "defs": context(group, rows, spans), "charts": charts})
    return found


def once(rows: Sequence[Row]) -> list[Row]:
    """Return one row of each training, whose best and last weights have rows of their own."""
    kept: dict[tuple[int, ...], Row] = {}
    for row in sorted(rows, key=lambda row: not row.chosen):
        kept.setdefault(tuple(map(id, row.trials)), row)
    return list(kept.values())


def context(group: Group, rows: Sequence[Row], spans: tuple[Any, ...]) -> Markup:
    """Return the robust accuracies of all rows of a group, to be drawn behind each."""
    plot = Plot(*SIZE, spans[0], spans[1], ABOVE)
    for row in rows:
        for epochs in row.runs[:1]:
            plot.line([(e["epoch"], e["val_ra"]) for e in epochs if "val_ra" in e], "")
    head = '<svg width="0" height="0" aria-hidden="true" class="defs"><defs>'
    return Markup(f'{head}<g id="ctx-{group.id}" class="ctxline">{"".join(plot.parts)}</g></defs></svg>')


def chart(row: Row, spans: tuple[Any, ...], behind: str) -> dict[str, Any]:
    """Return the chart of one row, with its numbers by epoch."""
    plot = Plot(*SIZE, spans[0], spans[1], ABOVE)
    plot.axis_y([tick for tick in (0, 20, 40, 60, 80, 100) if tick <= spans[1][1]])
    plot.add(f'<use href="#{behind}" class="ctx"/>')
    fallen = sorted({epoch for epochs in row.runs for epoch in collapsed(epochs)})
    if fallen:
        plot.box((fallen[0] - 0.5, fallen[-1] + 0.5), spans[1], "badband")
    thin = " thin" if len(row.runs) > 1 else ""
    for key, kind in (("val_sa", "sa"), ("val_one_step", "one"), ("val_ra", "ra")):
        for epochs in row.runs:
            plot.line([(e["epoch"], e[key]) for e in epochs if key in e], kind + thin)
    for epochs in row.runs:
        if best := best_epoch(epochs):
            plot.dot(best["epoch"], best.get("val_ra", best["val_sa"]), "ra")
    below = Plot(*SIZE, spans[0], spans[2], BELOW)
    below.axis_y(ticks(0, spans[2][1], 2)[:3]).axis_x([t for t in ticks(1, spans[0][1], 4) if t == int(t)] or [1])
    for epochs in row.runs:
        below.line([(e["epoch"], e["loss"]) for e in epochs if "loss" in e], "loss" + thin)
    plot.parts += below.parts
    rows = by_epoch(row.runs)
    return {
        "name": row.name,
        "note": row.note,
        "key": row.id,
        "svg": plot.svg(f"Training of {row.full_name}", in_words(row, rows), "mini"),
        "rows": rows,
        "geo": [plot.x(1) / SIZE[0], (plot.x(2) - plot.x(1)) / SIZE[0]],
    }


def by_epoch(runs: Sequence[Epochs], keys: Sequence[str] = KEYS) -> list[list[float | None]]:
    """Return a line for each epoch: its number, and each quantity in the mean over the seeds that have it."""
    epochs = sorted({epoch["epoch"] for run in runs for epoch in run})
    lines: list[list[float | None]] = []
    for number in epochs:
        same = [epoch for run in runs for epoch in run if epoch["epoch"] == number]
        values = [[epoch[key] for epoch in same if known(epoch.get(key))] for key in keys]
        lines.append([number, *(round(mean(value), 2) if value else None for value in values)])
    return lines


def known(value: Any) -> bool:
    """Say whether a quantity was measured, and is a number."""
    return isinstance(value, int | float) and math.isfinite(value)


def in_words(row: Row, rows: Sequence[Sequence[float | None]]) -> str:
    """Return the last epoch of a training in words, and what became of it."""
    _, *last = rows[-1]
    numbers = [f"{name} {'not measured' if v is None else v}" for name, v in zip(NAMES, last, strict=True)]
    seeds = " in the mean over seeds" if len(row.runs) > 1 else ""
    return f"Last epoch{seeds}: {', '.join(numbers)}; {row.state}"


def any_robust(groups: Sequence[Group]) -> bool:
    """Say whether some training was validated under an attack."""
    return any(robust(epochs) for group in groups for row in group.rows for epochs in row.runs)
