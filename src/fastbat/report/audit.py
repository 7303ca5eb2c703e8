"""One model alone: its accuracies, classes, how much each image takes, and how it was measured."""

from collections.abc import Sequence
from typing import Any

from fastbat.report.cards import Cards
from fastbat.report.svg import Plot, ticks
from fastbat.results.read import Look
from fastbat.results.records import Accuracy, Measured, Trial
from fastbat.results.rows import Group, Row

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


def accuracies(row: Row, cards: Cards) -> list[dict[str, Any]]:
    """Return the accuracies of a model at its own budget."""
    return [
        {
            "name": LONG.get(name, name),
            "label": cell.label,
            "text": f"{cell.percent:.1f}",
            "range": f"{cell.low:.1f} to {cell.high:.1f}",
            "lo": round(cell.low, 2),
            "hi": round(cell.high, 2),
            "pt": round(cell.percent, 2),
            "hits": f"{cell.parts[0].hits:,}",
            "n": f"{cell.n:,}",
            "kind": "clean" if name == "clean" else "pgd",
            "bound": cell.parts[0].upper_bound,
            "card": cards.accuracy(row, name),
            "source": row.trials[0].source + 1,
        }
        for name, cell in row.cells.items()
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
    return {"label": row.cells[attack].label, "n": row.cells["clean"].n // len(clean), "rows": shown}


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


def lowest(row: Row) -> Accuracy | None:
    """Return the lowest robust accuracy: what was shown at most."""
    robust = [cell.parts[0] for name, cell in row.cells.items() if name != "clean"]
    return min(robust, key=lambda each: each.percent, default=None)


def remarks(row: Row) -> list[str]:
    """Return why flags could not be judged, and other remarks of the evaluations."""
    return list(dict.fromkeys(text for each in row.evaluations for text in each.not_judged))
