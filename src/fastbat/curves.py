"""Curves of training runs, drawn from metrics.jsonl: a panel a quantity, a color a run, an epoch a point."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastbat.errors import InputError
from fastbat.files import check_writable, read_records, replacing
from fastbat.training import Run

FORMATS = (".png", ".svg", ".pdf")
PANELS: dict[str, dict[str, tuple[str, str]]] = {  # by title: names in a record, with label and line style
    "Training loss": {"loss": ("", "-")},
    "Validation accuracy, %": {
        "val_ra": ("robust", "-"),
        "val_ema_ra": ("robust, EMA", "-."),
        "val_one_step": ("under one step", "--"),
        "val_sa": ("standard", ":"),
    },
    "Gradient alignment": {"ga": ("", "-")},
}

Records = Mapping[str, list[dict[str, Any]]]  # of the epochs, by run


def draw_curves(runs: Sequence[Path], file: Path) -> None:
    """Draw loss, accuracies and gradient alignment of `runs`, run directories, by epoch into a PNG, SVG or PDF file.

    Raises InputError where a run has no finished epoch, the file has another ending, or matplotlib is missing.
    """
    if file.suffix.lower() not in FORMATS:
        raise InputError(f"{str(file)!r} ends in none of {', '.join(FORMATS)}")
    records = records_of(runs)
    check_writable(file.parent)
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("plots are drawn by matplotlib: pip install fastbat[plots]") from error
    measured = {name for epochs in records.values() for epoch in epochs for name in epoch}
    panels = {title: lines for title, lines in PANELS.items() if measured & lines.keys()}
    figure = Figure(figsize=(4.2 * len(panels), 3.6), layout="constrained")
    for axis, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        draw_panel(axis, lines, records)
        axis.set(title=title, xlabel="epoch")
    with replacing(file) as out:
        figure.savefig(out, format=file.suffix[1:].lower(), dpi=150)


def records_of(runs: Sequence[Path]) -> Records:
    """Return the records of the epochs of each run, by the name of its directory."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        epochs = read_records(Run(run).metrics)
        if not epochs:
            raise InputError(f"{str(run)!r} has no finished epoch to draw; name a run directory")
        name = run.resolve().name
        if name in found:
            raise InputError(f"two runs are called {name!r}, which labels their lines; rename one")
        found[name] = epochs
    return found


def draw_panel(axis: Any, lines: Mapping[str, tuple[str, str]], records: Records) -> None:
    """Draw the quantities `lines` of every run; a collapsed epoch is marked by a cross."""
    for i, (run, epochs) in enumerate(records.items()):
        for name, (label, style) in lines.items():
            points = [(epoch["epoch"], epoch[name]) for epoch in epochs if epoch.get(name) is not None]
            if points:
                axis.plot(*zip(*points, strict=True), style, color=f"C{i}", label=f"{run} {label}".strip())
            lost = [(epoch["epoch"], epoch[name]) for epoch in epochs if epoch.get("collapsed") and name == "val_ra"]
            if lost:
                axis.plot(*zip(*lost, strict=True), "x", color=f"C{i}", label=f"{run} collapsed")
    axis.legend(frameon=False, fontsize="x-small")
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
