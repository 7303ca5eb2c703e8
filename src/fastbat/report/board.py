"""The table of results as the template shows it, and its sparklines."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from fastbat.report.cards import Cards
from fastbat.report.svg import Margins, Plot, ticks, top_with
from fastbat.results.names import SHOWN, counted, images, instead, network, shown, span
from fastbat.results.rows import ATTACKS, Cell, Group, Row
from fastbat.results.state import fell, robust

DASH = "\u2013"
CHECKED = {"none raised": "none", "not judged": "not judged", "not checked": DASH, "not attacked": DASH}


def columns(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the columns of accuracies that some row has, each with the end of its scale."""
    found = []
    for attack in ATTACKS:
        cells = [row.cells[attack] for group in groups for row in group.rows if attack in row.cells]
        if cells:
            paper = [cell.paper[0].mean for cell in cells if cell.paper]
            estimates = [part.percent for cell in cells for part in cell.parts] + paper
            top = 100.0 if attack == "clean" else top_with(estimates, (cell.high for cell in cells))
            found.append(
                {
                    "key": attack,
                    "name": SHOWN[attack],
                    "top": top,
                    "ticks": ticks(0, top, 5 if attack != "clean" else 4),
                }
            )
    return found


def board(groups: Sequence[Group], cards: Cards) -> list[dict[str, Any]]:
    """Return the groups as the template shows them."""
    tops = {column["key"]: column["top"] for column in columns(groups)}
    return [
        {
            "id": group.id,
            "eps": f"{group.eps_255:g}" if group.eps_255 else "",
            "title": heading(group),
            "scale": scale_line(group),
            "says": remarks(group, tops),
            "rows": [row_view(row, group, tops, cards) for row in group.rows],
        }
        for group in groups
    ]


def heading(group: Group) -> str:
    """Return the title of a group."""
    trained = f"trained at eps {group.trained_255:g}" if group.trained_255 else ""
    datasets = dict.fromkeys(shown(str(row.trials[0].setting("dataset") or "")) for row in group.rows)
    return ", ".join(filter(None, (group.title or " and ".join(filter(None, datasets)) or "Models", trained)))


def scale_line(group: Group) -> str:
    """Return the scale of a group in one line."""
    scale, dataset = scale_of(group), str(group.rows[0].trials[0].setting("dataset") or "images")
    words = [
        f"stand-in images ({scale['stand-in']})" if scale["stand-in"] else shown(dataset),
        scale["network"] if scale["network"] != "not recorded" else "",
        f"{scale['training images']} training images" if scale["training images"] != "not recorded" else "",
        f"{scale['epochs']} epochs" if scale["epochs"] != "not recorded" else "",
        scale["seeds"],
        f"tested on {scale['test images']} images" if scale["test images"] else "",
    ]
    return ", ".join(filter(None, words))


def scale_of(group: Group) -> dict[str, str]:
    """Return the scale of a group: network, images, epochs, seeds, in words."""
    trials = [trial for row in group.rows for trial in row.trials]
    networks = dict.fromkeys(network(trial) for trial in trials)
    epochs = span(len(trial.epochs) or int(trial.setting("epochs") or 0) for trial in trials)
    seeds = span(len(row.trials) for row in group.rows)
    return {
        "stand-in": "; ".join(dict.fromkeys(filter(None, map(instead, trials)))),
        "network": " and ".join(networks),
        "training images": " and ".join(dict.fromkeys(images(trial) for trial in trials)),
        "epochs": epochs if epochs != "0" else "not recorded",
        "seeds": counted(int(seeds), "seed") if seeds.isdigit() else f"{seeds} seeds",
        "test images": tested(group),
    }


def tested(group: Group) -> str:
    """Return how many test images each attack saw."""
    by_attack = {
        attack: span(row.cells[attack].n for row in group.rows if attack in row.cells)
        for attack in (*ATTACKS[1:], "clean")
    }
    there = {attack: n for attack, n in by_attack.items() if n}
    if len(set(there.values())) < 2:
        return next(iter(there.values()), "")
    return " and ".join(f"{n} ({SHOWN[attack]})" for attack, n in there.items() if attack != "clean")


def remarks(group: Group, tops: dict[str, float]) -> str:
    """Return what a group lacks, said once for all its rows."""
    lacking = [SHOWN[key] for key in tops if not any(key in row.cells for row in group.rows)]
    said = [f"{' and '.join(lacking)} not measured." if lacking else ""]
    if all(row.checked == "not checked" for row in group.rows):
        said.append("Red flags were not looked for.")
    return " ".join(filter(None, said))


def row_view(row: Row, group: Group, tops: dict[str, float], cards: Cards) -> dict[str, Any]:
    """Return a row as the template shows it."""
    source = row.trials[0].source + 1
    cost = row.cost and {
        "v": row.cost.value,
        "text": row.cost.text,
        "words": row.cost.words,
        "card": cards.add(
            f"Cost: {row.cost.words}",
            [("what", "training alone"), ("made of", row.cost.note)],
            source,
        ),
    }
    weights = "" if row.chosen else SHOWN.get(row.checkpoint, row.checkpoint)
    return {
        "id": row.id,
        "key": row.id,
        "name": row.name,
        "note": ", ".join(filter(None, (row.note, weights))),
        "weights": row.checkpoint or "best",
        "place": row.place,
        "cells": {attack: cell_view(row, attack, tops[attack], cards) for attack in tops if attack in row.cells},
        "cost": cost,
        "seeds": len(row.trials),
        "fell": row.failed,
        "state": row.state,
        "spark": spark(row, group),
        "flags": row.flags,
        "checked": CHECKED[row.checked],
        "why": row.checked,
        "source": source,
    }


def cell_view(row: Row, attack: str, top: float, cards: Cards) -> dict[str, Any]:
    """Return an accuracy as the template shows it: places on its bar in percent of the scale."""
    cell, source = row.cells[attack], row.trials[0].source + 1

    def place(value: float) -> float:
        return round(100 * min(value, top) / top, 2)

    paper = cell.paper[0].mean if cell.paper else None
    return {
        "v": round(cell.percent, 4),
        "text": bounded(cell) + f"{cell.percent:.1f}",
        "range": f"{cell.low:.1f} to {cell.high:.1f}",
        "step": round(100 * ticks(0, top, 5 if attack != "clean" else 4)[1] / top, 2),
        "lo": place(cell.low),
        "hi": place(cell.high),
        "cut": cell.high > top,
        "pt": place(cell.percent),
        "seeds": [place(part.percent) for part in cell.parts] if len(cell.parts) > 1 else [],
        "paper": None if paper is None else place(paper),
        "paper_text": "" if paper is None else f"{paper:.1f}",
        "card": cards.accuracy(row, attack),
        "label": spoken(row, cell, paper, source),
        "source": source,
    }


def bounded(cell: Cell) -> str:
    """Return the sign of an upper bound, where only a black-box attack was made."""
    return "≤ " if any(part.upper_bound for part in cell.parts) else ""


def spoken(row: Row, cell: Cell, paper: float | None, source: int) -> str:
    """Return an accuracy as a sentence."""
    words = [
        f"{cell.label} of {row.full_name}: {cell.percent:.1f} percent",
        f"95 percent interval {cell.low:.1f} to {cell.high:.1f}",
        f"{cell.n:,} images",
        counted(len(cell.parts), "seed"),
        "" if paper is None else f"the paper, at its own scale, {paper:.1f}",
        f"source {source}",
    ]
    return ", ".join(filter(None, words))


def spark(row: Row, group: Group) -> Markup | str:
    """Return RA on validation images by epoch, a line a seed; what collapsed in the warning colour."""
    runs = [epochs for epochs in row.runs if robust(epochs)]
    if not runs:
        return ""
    every = [epochs for other in group.rows for epochs in other.runs]
    top = max((ra for epochs in every for ra in robust(epochs)), default=1.0)
    plot = Plot(64, 20, (1, max(2, *(len(epochs) for epochs in every))), (0, max(top, 1.0)), Margins(2, 2, 2, 2))
    plot.path("grid", (2, plot.y(0)), (62, plot.y(0)))
    for epochs in runs:
        points = [(epoch["epoch"], epoch["val_ra"]) for epoch in epochs if "val_ra" in epoch]
        plot.line(points, "bad thin" if fell(epochs) else "ra thin")
    return plot.svg("RA by epoch: " + ", ".join(f"{ra:.0f}" for ra in robust(runs[0])), kind="spark")


def other_attacks(groups: Sequence[Group], cards: Cards) -> list[dict[str, Any]]:
    """Return the accuracies under attacks that have no column."""
    return [
        {
            "name": row.full_name,
            "eps": f"{row.eps_255:g}",
            "label": cell.label,
            "text": f"{bounded(cell)}{cell.percent:.1f}",
            "range": f"{cell.low:.1f} to {cell.high:.1f}",
            "n": f"{cell.n:,}",
            "card": cards.accuracy(row, attack),
            "spoken": spoken(row, cell, None, row.trials[0].source + 1),
            "source": row.trials[0].source + 1,
        }
        for group in groups
        for row in group.ranked
        for attack, cell in row.cells.items()
        if attack not in ATTACKS
    ]
