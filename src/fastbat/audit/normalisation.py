"""The normalisation in front of a model of others."""

from collections.abc import Sequence

from fastbat.audit.origin import Origin, numbers
from fastbat.errors import InputError
from fastbat.models import Normalize


def normalisation(origin: Origin, channels: int) -> Normalize | None:
    """Return the normalisation asked for, None where there is none; InputError unless it fits images of `channels`."""
    if (origin.mean is None) != (origin.std is None):
        raise InputError("one of --mean and --std is given without the other; give both, or none where it is inside")
    if origin.mean is None or origin.std is None:
        return None
    return normalize(numbers("mean", origin.mean), numbers("std", origin.std), channels)


def normalize(mean: Sequence[float], std: Sequence[float], channels: int) -> Normalize:
    """Return the normalisation; InputError unless it has a number a channel, on the [0, 1] scale of the images."""
    for what, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise InputError(f"{what} has {len(values)} numbers for images of {channels} channels; give one a channel")
    if min(std) <= 0:
        raise InputError(f"std is {listed(std)}; every number must be above 0")
    if min(mean) < 0:
        raise InputError(f"mean is {listed(mean)}; images lie in [0, 1], and so does their mean")
    for what, values in (("mean", mean), ("std", std)):
        if max(values) > 1:
            raise InputError(
                f"{what} is {listed(values)}, but images lie in [0, 1]; if it is on the 0-255 scale, write "
                f"--mean {listed(mean, 255)} --std {listed(std, 255)}"
            )
    return Normalize(mean, std)


def listed(values: Sequence[float], scale: float = 1) -> str:
    """Return numbers, divided by `scale`, as they are written on the command line."""
    return ",".join(f"{value / scale:.4g}" for value in values)
