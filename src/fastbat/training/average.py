"""Weight averaging: a model whose weights and BatchNorm statistics are the exponential moving average of another's.

    averaged <- averaged + (1 - d) (current - averaged),    d = min(decay, (1 + step) / (10 + step))

after every update. The smaller d of the first updates lets go of the random start, and depends on the step alone, so
that a resumed run needs no counter.
"""

from copy import deepcopy

import torch
from torch import nn


def start_average(model: nn.Module) -> nn.Module:
    """Return the average of `model` before its first update."""
    return deepcopy(model).requires_grad_(False)


@torch.no_grad()
def move_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Take the weights of `model` after update `step` (from 0) into the average; BatchNorm's counts are copied.

    `decay` lies in (0, 1).
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    for mine, theirs in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, share)
        else:
            mine.copy_(theirs)
