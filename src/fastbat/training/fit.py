"""Which methods can be run in parts of a batch, and compiled: what they say of themselves decides."""

from fastbat.errors import InputError
from fastbat.methods import Method

TANGENT = ("ig_mode", "penalty")  # settings that can be so, of methods that differentiate twice


def twice(method: Method) -> bool:
    """Say whether the backward pass of `method` goes through a gradient."""
    return getattr(method, "differentiates_twice", False)


def check_pace(method: Method, accumulate: int, compile: bool) -> None:
    """Raise InputError where `method` cannot be run in parts of a batch, or compiled."""
    name = type(method).__name__
    if accumulate > 1 and getattr(method, "replays", 1) > 1:
        raise InputError(
            f"accumulate is {accumulate}, but {name} carries a perturbation from replay to replay of a whole batch; "
            "take a smaller batch_size"
        )
    if compile and twice(method):
        raise InputError(
            f"compile is on, but {name} differentiates a gradient, which a compiled network cannot; leave it out"
            + "".join(f", or take {setting} tangent" for setting in TANGENT if hasattr(method, setting))
        )
    if compile and getattr(method, "splits", False):
        raise InputError(f"compile is on, but {name} stops the network behind its first layer; leave it out")
