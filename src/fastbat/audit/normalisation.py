"""The normalisation in front of a model of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastbat.audit.origin import Origin, numbers
from fastbat.errors import InputError

if TYPE_CHECKING:
    from fastbat.models import Normalize


def given_scale(origin: Origin) -> tuple[list[float], list[float]] | None:
    """Return the mean and the standard deviation asked for, None where there are none; InputError unless in [0, 1]."""
    if (origin.mean is None) != (origin.std is None):
        raise InputError("one of --mean and --std is given without the other; give both, or none where it is inside")
    if origin.mean is None or origin.std is None:
        return None
    mean, std = numbers("mean", origin.mean, "0.5,0.5,0.5"), numbers("std", origin.std, "0.5,0.5,0.5")
    check_scale(mean, std)
    return mean, std


def check_scale(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise InputError unless this is a mean and a standard deviation of images in [0, 1]."""
    if min(std) <= 0:
        raise InputError(f"std is {listed(std)}; every number must be above 0")
    if min(mean) < 0:
        raise InputError(f"mean is {listed(mean)}; images lie in [0, 1], and so does their mean")
    scale = {"mean": mean, "std": std}
    if large := [what for what, values in scale.items() if max(values) > 1]:
        found = " and ".join(f"{what} is {listed(scale[what])}" for what in large)
        instead = " ".join(f"--{what} {listed(scale[what], 255)}" for what in large)
        raise InputError(f"{found}, but images lie in [0, 1]; if that is on the 0-255 scale, write {instead}")


def normalize(mean: Sequence[float], std: Sequence[float], channels: int) -> Normalize:
    """Return the normalisation of images of so many channels; InputError unless it has a number for each."""
    from fastbat.models import Normalize  # here, for it imports torch

    check_scale(mean, std)
    for what, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise InputError(f"{what} has {len(values)} numbers for images of {channels} channels; give one a channel")
    return Normalize(mean, std)


def listed(values: Sequence[float], scale: float = 1) -> str:
    """Return numbers, divided by `scale`, as they are written on the command line."""
    return ",".join(f"{value / scale:.4g}" for value in values)
