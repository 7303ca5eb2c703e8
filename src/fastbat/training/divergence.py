"""Why training diverged, in words: the weight decay, a weight of the method, the images, or the learning rate."""

import math
from collections.abc import Callable, Mapping

from fastbat.methods import Method, beyond_published
from fastbat.training.settings import Settings

AGAIN = "train into another --out with a lower"
SHOWN = 4  # losses


def explain(
    method: Method,
    settings: Settings,
    losses: Mapping[int, float],
    first: int,
    fault_of: Callable[[int], str | None],
) -> str:
    """Return in words what made the losses of an epoch diverge, and what to do about it.

    Args:
        method: the one that yielded them.
        settings: of the training, filled in.
        losses: of the epoch's updates, by number.
        first: number of the epoch's first update in the training; 0 if nothing was learned before.
        fault_of: says what is not finite on the images of an update, with the weights that the epoch began with.
    """
    decay, most = (settings.max_lr or 0) * (settings.weight_decay or 0), 2 * (1 + settings.momentum)
    if decay > most:  # v <- momentum v + weight_decay w, w <- w - lr v grows without any loss
        alone = f"max_lr times weight_decay is {decay:.3g}, and above {most:g} the decay alone makes weights grow"
        return f"{alone}: {AGAIN} --max-lr or --weight-decay"
    for setting, heavy in beyond_published(method).items():
        return f"{heavy}: {AGAIN} --{setting.replace('_', '-')}"
    numbers = list(losses)
    lost = next((i for i, number in enumerate(numbers) if not math.isfinite(losses[number])), None)
    if lost is None:
        return f"{AGAIN} --max-lr"
    if fault := fault_of(numbers[lost]):
        return f"the learning rate is not the cause, for before this epoch {fault}; check the network and the images"
    if first == lost == 0:
        name = type(method).__name__
        return f"the learning rate is not the cause, for it was the first update; check the settings of {name}"
    shown = ", ".join(f"{losses[number]:.3g}" for number in numbers[max(0, lost + 1 - SHOWN) : lost + 1])
    return f"the losses were {shown}: {AGAIN} --max-lr"
