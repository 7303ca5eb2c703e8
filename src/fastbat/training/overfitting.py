"""Catastrophic overfitting (Wong et al., 2020; Sec. 5.2): the net learns to read the one-step attack it is shown.

Its accuracy under that attack stays or rises while its accuracy under PGD falls to nothing. A sound net loses a few
points from one step to ten; one that has collapsed loses most of them. That gap alone is also what a net shows that is
only learning to be robust, so the accuracy under PGD must also be no higher than in every epoch before.
"""

from collections.abc import Mapping
from typing import Any

STEP_RATIO = 1.25  # the one step is FAST-AT's: from a uniform start, 1.25 eps


def has_collapsed(one_step: float, ra: float, best_ra: float, n: int) -> bool:
    """Say whether accuracies in percent on `n` images, under one step and under PGD, are those of a collapse.

    Under PGD there is less than half of the accuracy under one step, the gap is above 8 points and 10 images, and the
    accuracy under PGD is not above `best_ra`, that of the best epoch before (-1 where there is none).
    """
    return ra <= best_ra and ra < one_step / 2 and one_step - ra > max(8.0, 1000 / n)


def describe_collapse(record: Mapping[str, Any]) -> str:
    """Return in words that the epoch of `record` has collapsed."""
    return (
        f"collapsed in epoch {record['epoch']}: accuracy {record['val_one_step']:.1f} % under one step, "
        f"{record['val_ra']:.1f} % under PGD (catastrophic overfitting)"
    )


def describe_reaction(on_collapse: str) -> str:
    """Return in words what a training does next that is not rolled back."""
    no_remedy = ", no remedy is left" if on_collapse == "rollback" else ""
    reaction = "stopped" if on_collapse == "stop" else "continuing"
    return f"{no_remedy}; {reaction}, best.safetensors keeps the best epoch"
