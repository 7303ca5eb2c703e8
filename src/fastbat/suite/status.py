"""How far a suite is: a row for each trial and evaluation, from what lies on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from fastbat.errors import InputError
from fastbat.files import read_records
from fastbat.suite.remaining import RESULTS
from fastbat.suite.runner import finished
from fastbat.suite.stand_in import stand_in
from fastbat.suite.trials import TABLE, Trial, trials_in
from fastbat.training import Run, Settings


@dataclass(frozen=True)
class Row:
    """A trial, and one of its evaluations where it is finished."""

    trial: str
    state: str  # waiting, N epochs trained, failed, finished
    checkpoint: str = ""
    eps_255: float | None = None
    sa: float | None = None  # percent
    ra_pgd: float | None = None
    ra_aa: float | None = None
    n: int | None = None
    seconds_per_epoch: float | None = None  # median over the epochs, of training alone
    error: str = ""
    stand_in: str = ""  # what its images are in place of


def status(out: Path) -> list[Row]:
    """Return the rows of the suite in folder `out`, or of those in its folders; InputError where there is none."""
    if (out / TABLE).exists():
        return [row for trial in trials_in(out) for row in rows(trial, out)]
    within = [each for each in sorted(out.iterdir()) if (each / TABLE).exists()] if out.is_dir() else []
    if not within:
        raise InputError(f"no suite in {str(out)!r}; start one with: fastbat suite run FILE.toml --out {out}")
    return [replace(row, trial=f"{folder.name}/{row.trial}") for folder in within for row in status(folder)]


def rows(trial: Trial, out: Path) -> list[Row]:
    """Return what is known of a trial: where it is finished, a row for each evaluation and budget."""
    record = finished(trial, out)
    if record is None:
        return [unfinished(trial, out)]
    seconds, remedy = median(epoch["seconds"] for epoch in record["epochs"]), record["epochs"][-1].get("remedy_steps")
    state = f"finished by PGD-{remedy}-AT" if remedy else "finished"
    classes = [len(each["per_class"]) for result in record["results"] for each in result["accuracies"]]
    row = partial(Row, trial.name, state, seconds_per_epoch=seconds, stand_in=of_trial(trial, max(classes, default=0)))
    return [
        row(Path(result["settings"]["target"]).stem, eps, *shares(result, eps), result["n"])
        for result in record["results"]
        for eps in sorted({each["eps_255"] for each in result["accuracies"]} - {0}) or [0]
    ] or [row()]


def shares(result: Mapping[str, Any], eps: float) -> tuple[float | None, float | None, float | None]:
    """Return SA, RA-PGD and RA-AA at the budget `eps` (0-255) in an evaluation's record; None for what was not made."""
    found = {(each["attack"], each["eps_255"]): each["percent"] for each in result["accuracies"]}
    return found.get(("clean", 0)), found.get(("pgd", eps)), found.get(("aa", eps))


def unfinished(trial: Trial, out: Path) -> Row:
    """Return how far an unfinished trial is, or why its last attempt failed."""
    attempts = [record for record in read_records(out / RESULTS) if record["trial"] == trial.name]
    if attempts and attempts[-1]["status"] == "failed" and attempts[-1]["train"] == trial.train:
        return Row(trial.name, "failed", error=attempts[-1]["error"], stand_in=of_trial(trial))
    epochs = len(read_records(Run(trial.place(out)).metrics))
    return Row(trial.name, f"{epochs} epochs" if epochs else "waiting", stand_in=of_trial(trial))


def of_trial(trial: Trial, classes: int | None = None) -> str:
    """Return in words what the images of a trial, of so many classes, are in place of."""
    return stand_in(str(trial.train.get("dataset", Settings.dataset)), trial.stands_for, classes)
