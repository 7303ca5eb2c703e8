"""Weight averaging: a model whose weights and BatchNorm statistics are the exponential moving average of another's.

    averaged <- averaged + (1 - d) (current - averaged),    d = min(decay, (1 + step) / (10 + step))

after every update. The smaller d of the first updates lets go of the random start, and depends on the step alone, so
that a resumed run needs no counter.
"""

from copy import deepcopy

import torch
from torch import nn


class Average:
    """The moving average of `model`, from its weights now on; `decay` lies in (0, 1)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = deepcopy(model).requires_grad_(False), decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights of `model` after update `step` (from 0); BatchNorm's counts are copied."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for mine, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, share)
            else:
                mine.copy_(theirs)
