"""Whether a training is still made of finite numbers: its losses, its weights."""

from itertools import islice

import torch

from fastbat.errors import DivergedError
from fastbat.models.finite import finite
from fastbat.training.state import PartialEpoch, State


def check_losses(partial: PartialEpoch, count: int) -> None:
    """Raise DivergedError unless the last `count` losses of an epoch are finite; waits for the device."""
    last = list(islice(reversed(partial.losses.values()), count))
    if last and not finite(torch.stack(last)):
        bad = next(loss.item() for loss in reversed(last) if not finite(loss))
        raise DivergedError(f"loss {bad:g}")


def check_finite(state: State) -> None:
    """Raise DivergedError unless the losses of the epoch that runs and all weights are finite; waits for the device."""
    check_losses(state.partial, len(state.partial.losses))
    if state.partial.losses and not all(finite(weight) for weight in state.model.parameters()):
        raise DivergedError(f"loss {list(state.partial.losses.values())[-1].item():g}, weights not finite")
