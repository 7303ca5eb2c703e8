"""What became of a training by its epochs: sound, collapsed (catastrophic overfitting), or no better than guessing."""

from collections.abc import Sequence

from fastbat.results.records import Record
from fastbat.training.overfitting import has_collapsed

Epochs = Sequence[Record]


def collapsed(epochs: Epochs) -> list[int]:
    """Return the epochs that had collapsed: as recorded, else by the guard's rule (training/overfitting.py)."""
    if any("collapsed" in epoch for epoch in epochs):
        return [epoch["epoch"] for epoch in epochs if epoch.get("collapsed")]
    found, highest = [], -1.0
    for epoch in epochs:
        one_step, ra = epoch.get("val_one_step"), epoch.get("val_ra")
        if ra is None:
            continue
        if one_step is not None and has_collapsed(one_step, ra, highest, epoch["val_n"]):
            found.append(epoch["epoch"])
        highest = max(highest, ra)
    return found


def fell(epochs: Epochs) -> bool:
    """Say whether a training ended collapsed: the guard says so of its last epoch, or that has half of its best RA."""
    ra = robust(epochs)
    return bool(ra) and (epochs[-1]["epoch"] in collapsed(epochs) or ra[-1] < max(ra) / 2)


def robust(epochs: Epochs) -> list[float]:
    """Return the RA on validation images of the epochs that have it, in percent."""
    return [epoch["val_ra"] for epoch in epochs if "val_ra" in epoch]


def best_epoch(epochs: Epochs) -> Record | None:
    """Return the epoch whose weights were chosen."""
    return next((epoch for epoch in reversed(epochs) if epoch.get("best")), None)


def still_rising(epochs: Epochs) -> bool:
    """Say whether the last epoch was the best: more of them might have been better."""
    return bool(epochs) and bool(epochs[-1].get("best")) and len(epochs) > 1


def in_words(runs: Sequence[Epochs], classes: int | None) -> str:
    """Return in a few words what became of a training, of each of its seeds."""
    if not any(runs):
        return "not recorded"
    if not any(robust(epochs) for epochs in runs):
        return "no attack"
    fallen = sum(fell(epochs) for epochs in runs)
    if fallen and len(runs) > 1:
        return f"collapsed, {fallen} of {len(runs)} seeds"
    if fallen:
        first = collapsed(runs[0])
        return f"collapsed, epoch {first[0]}" if first else "collapsed"
    back = [each["epoch"] for epochs in runs for epoch in epochs for each in epoch.get("discarded", ())]
    if back:
        return f"epoch {back[0]} taken back"
    return "never above guessing" if guesses(runs, classes) else "sound"


def guesses(runs: Sequence[Epochs], classes: int | None) -> bool:
    """Say whether no epoch of any seed withstands an attack more often than guessing would."""
    highest = [max(ra) for epochs in runs if (ra := robust(epochs))]
    return bool(classes and highest) and max(highest) <= 100 / (classes or 1)
