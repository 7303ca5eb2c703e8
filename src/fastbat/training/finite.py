"""Whether a training is still made of finite numbers: its losses, its weights."""

import math
from itertools import islice

from fastbat.errors import DivergedError
from fastbat.models.finite import finite
from fastbat.training.state import PartialEpoch, State

LOOK = 50  # updates between two looks at the losses on a GPU, which is waited for then


def check_losses(partial: PartialEpoch, count: int) -> None:
    """Raise DivergedError unless the last `count` losses of an epoch are finite."""
    last = [loss.item() for loss in islice(reversed(partial.losses.values()), count)]
    if bad := [loss for loss in last if not math.isfinite(loss)]:
        raise DivergedError(f"loss {bad[-1]:g}")


def check_finite(state: State) -> None:
    """Raise DivergedError unless the losses since the last look and all weights are finite."""
    check_losses(state.partial, LOOK)
    if state.partial.losses and not all(finite(weight) for weight in state.model.parameters()):
        raise DivergedError(f"loss {list(state.partial.losses.values())[-1].item():g}, weights not finite")
