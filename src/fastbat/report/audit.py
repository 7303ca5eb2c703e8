"""One model alone: its accuracies, classes, how much each image takes, and how it was measured."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastbat.report.cards import Cards
from fastbat.report.svg import Plot, ticks
from fastbat.results.read import Look
from fastbat.results.records import Accuracy, Measured, Trial
from fastbat.results.rows import ATTACKS, Group, Row, cell_of

LONG = {
    "clean": "Clean images",
    "noise": "Noise",
    "fgsm": "One signed step",
    "pgd": "PGD",
    "aa": "AutoAttack standard",
    "square": "Square, a black-box attack",
}
HASHES = ("weights", "outputs", "images", "sha256", "fingerprint")
LEFT_OUT = ("command", "machine", "versions", "steps", "surrogates", "origin", "aa_parts", "attacks", "says")


def only_row(groups: Sequence[Group]) -> Row | None:
    """Return the row of the page's one model; None where there are several."""
    rows = [row for group in groups for row in group.rows]
    trials = {id(trial) for row in rows for trial in row.trials}
    return next((row for row in rows if row.chosen), rows[0]) if len(trials) == 1 else None


def at_every_budget(row: Row) -> list[tuple[str, Row]]:
    """Return each attack on the weights of a row at each budget: its name, and the row of that budget."""
    made = [a for each in row.trials[0].evaluations if each.checkpoint == row.checkpoint for a in each.accuracies]
    ordered = sorted({(a.eps_255, place(a.attack), a.attack) for a in made})
    of = [(name, eps, cell_of(row.trials, row.checkpoint, name, eps)) for eps, _, name in ordered]
    return [(name, replace(row, eps_255=eps, cells={name: cell})) for name, eps, cell in of if cell]


def place(attack: str) -> int:
    """Return where an attack stands: those of the results first."""
    return ATTACKS.index(attack) if attack in ATTACKS else len(ATTACKS)


def accuracies(row: Row, cards: Cards) -> list[dict[str, Any]]:
    """Return the accuracies of a model at every budget."""
    rows = at_every_budget(row)
    several = len({each.eps_255 for _, each in rows} - {0}) > 1
    return [
        {
            "name": LONG.get(name, name),
            "label": cell.label + (f" at eps {each.eps_255:g}/255" if several and each.eps_255 else ""),
            "text": f"{cell.percent:.1f}",
            "range": f"{cell.low:.1f} to {cell.high:.1f}",
            "lo": round(cell.low, 2),
            "hi": round(cell.high, 2),
            "pt": round(cell.percent, 2),
            "hits": f"{cell.parts[0].hits:,}",
            "n": f"{cell.n:,}",
            "kind": "clean" if name == "clean" else "pgd",
            "bound": cell.parts[0].upper_bound,
            "card": cards.accuracy(each, name),
            "source": row.trials[0].source + 1,
        }
        for name, each in rows
        for cell in each.cells.values()
    ]


def classes(row: Row, looks: Sequence[Look]) -> dict[str, Any] | None:
    """Return the accuracy of each class, clean and under the attack that ranks; None where either is not recorded."""
    attack = next((name for name in ("pgd", "aa") if name in row.cells), None)
    if attack is None or "clean" not in row.cells:
        return None
    clean, robust = (row.cells[name].parts[0].per_class for name in ("clean", attack))
    if not (clean and robust) or len(clean) > 100:
        return None
    names = next((look.classes for look in looks if look.classes), [])
    shown = [
        {"name": names[i] if len(names) == len(clean) else str(i), "sa": sa, "ra": ra}
        for i, (sa, ra) in enumerate(zip(clean, robust, strict=True))
        if sa is not None and ra is not None
    ]
    label = row.cells[attack].label + (f" at eps {row.eps_255:g}/255" if row.eps_255 else "")
    return {"label": label, "n": row.cells["clean"].n // len(clean), "rows": shown}


def least_budgets(looks: Sequence[Look]) -> dict[str, Any] | None:
    """Return the share of images still right at every budget tried, and what else the closer look measured."""
    look = next((each for each in looks if each.about.get("robust_share")), None)
    if look is None:
        return None
    about = look.about
    points = [(0.0, float(about["sa"]))]
    points += [(float(eps), 100 * share) for eps, share in about["robust_share"].items()]
    reach = points[-1][0]
    plot = Plot(360, 270, (0, 1.02 * reach), (0, 100))
    plot.axis_y([0, 25, 50, 75, 100], f"images still right, % of {about['n']:,}")
    plot.axis_x(ticks(0, reach, 6), "least budget at which PGD-20 breaks it, of 255")
    plot.area(points, [(0, 0), (reach, 0)], "band ra").line(points, "ra")
    words = ", ".join(f"{eps:g}: {share:.0f} %" for eps, share in points[::4])
    ga, sizes = about.get("ga"), about.get("gradient_l2", {})
    return {
        "svg": plot.svg("Share of images still classified correctly against the budget", words, "wide"),
        "n": f"{about['n']:,}",
        "ga": "not measured" if ga is None else f"{ga:.2f}",
        "sizes": {name: f"{value:.2g}" for name, value in sizes.items()},
        "none": f"{100 * about.get('zero_gradients', 0.0):.0f} %",
    }


def settings(trial: Trial, measured: Sequence[Measured]) -> list[tuple[str, str]]:
    """Return the settings of the last evaluation, then those of the training."""
    found = dict(measured[-1].settings) if measured else {}
    told = {name.replace("_", " "): short(name, value) for name, value in found.items() if name not in LEFT_OUT}
    trained = {f"train: {name.replace('_', ' ')}": short(name, value) for name, value in trial.train.items()}
    return [(name, text) for name, text in {**told, **trained}.items() if text]


def short(name: str, value: Any) -> str:
    """Return a setting as text; of a hash its first digits."""
    if value is None or (isinstance(value, dict | list) and not value):
        return ""
    if isinstance(value, dict | list):
        return ", ".join(map(str, value))
    return f"{value[:16]}…" if name in HASHES else str(value)


def lowest(row: Row) -> list[Accuracy]:
    """Return the lowest robust accuracy at each budget: what was shown at most."""
    robust = [cell.parts[0] for name, each in at_every_budget(row) if name != "clean" for cell in each.cells.values()]
    budgets = dict.fromkeys(part.eps_255 for part in robust)
    return [min((part for part in robust if part.eps_255 == eps), key=lambda part: part.percent) for eps in budgets]


def remarks(row: Row) -> list[str]:
    """Return why flags could not be judged, and other remarks of the evaluations."""
    return list(dict.fromkeys(text for each in row.evaluations for text in each.not_judged))
