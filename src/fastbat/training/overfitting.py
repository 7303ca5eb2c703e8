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


def describe_alarm(record: Mapping[str, Any]) -> str:
    """Return in words that the alarm was on in the epoch of `record`."""
    return (
        f"alarm in epoch {record['epoch']}, before {record['alarm']:.1%} of its updates: the input gradients at start "
        f"and end of the attack align less than half as well as before; in the mean {record['pert_align']:.2f}"
    )


def reaction(record: Mapping[str, Any], on_collapse: str, on_alarm: str) -> tuple[str, str]:
    """Return what the guard does after the epoch of `record`, and why in words; two empty texts if nothing."""
    if record.get("collapsed"):
        return on_collapse, describe_collapse(record)
    if record.get("alarm") and on_alarm != "ignore":
        return on_alarm, describe_alarm(record)
    return "", ""


def describe_reaction(does: str) -> str:
    """Return in words what a training does next that is not rolled back."""
    if does == "escalate":
        return "; two steps for a while"
    no_remedy = ", no remedy is left" if does == "rollback" else ""
    reaction = "stopped" if does == "stop" else "continuing"
    return f"{no_remedy}; {reaction}, best.safetensors keeps the best epoch"
