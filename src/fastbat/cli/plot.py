"""fastbat plot: the training curves of runs."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fastbat.curves import draw_curves
from fastbat.errors import InputError
from fastbat.progress import say


def plot_command(*runs: Path, out: Annotated[Path | None, Parameter(alias="-o")] = None) -> None:
    """Draw loss, accuracies and gradient alignment of training runs by epoch.

    Parameters
    ----------
    runs
        Run directories; a run that is still training can be drawn, too.
    out
        PNG, SVG or PDF file; RUN/curves.png unless given, which is drawn again each time.
    """
    if not runs:
        raise InputError("no run is named; give run directories: fastbat plot runs/first")
    if out is not None and out.exists():
        raise InputError(f"{str(out)!r} exists already; name another file")
    file = out or runs[0] / "curves.png"
    draw_curves(runs, file)
    say(f"drew {file}")
