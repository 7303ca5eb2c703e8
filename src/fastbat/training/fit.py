"""Which methods can be run in parts of a batch, compiled and captured: what they say of themselves decides."""

from fastbat.errors import InputError
from fastbat.methods import Method


def check_pace(method: Method, accumulate: int, compile: bool, capture: bool) -> None:
    """Raise InputError where `method` cannot be run in parts of a batch, compiled or captured."""
    name, traits = type(method).__name__, method.traits
    if accumulate > 1 and traits.replays > 1:
        raise InputError(
            f"accumulate is {accumulate}, but {name} carries a perturbation from replay to replay of a whole batch; "
            "take a smaller batch_size"
        )
    if compile and traits.differentiates_twice:
        raise InputError(
            f"compile is on, but {name} differentiates a gradient, which a compiled network cannot; leave it out"
            + (f", or take {traits.once}" if traits.once else "")
        )
    if compile and traits.splits:
        raise InputError(f"compile is on, but {name} stops the network behind its first layer; leave it out")
    if capture and traits.memory:
        raise InputError(f"capture is on, but {name} has a memory, which a CUDA graph cannot have; leave it out")
    if capture and accumulate > 1:
        raise InputError(
            f"capture is on, and accumulate is {accumulate}; a CUDA graph has whole batches: leave one out"
        )
