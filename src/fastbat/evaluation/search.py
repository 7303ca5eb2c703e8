"""The model as attacks climb it: in bf16 where that is fast, the mean of several passes where it is random."""

from typing import Literal

import torch
from torch import Tensor, nn

from fastbat.errors import InputError, choose
from fastbat.precision import Autocast, has_bf16

Precision = Literal["auto", "float32", "bf16"]


class Search(nn.Module):
    """`model` with its mean logits of `passes` forward passes, in bf16 or its own precision."""

    def __init__(self, model: nn.Module, bf16: bool, passes: int) -> None:
        super().__init__()
        self.model, self.bf16, self.passes = Autocast(model) if bf16 else model, bf16, passes

    def forward(self, x: Tensor) -> Tensor:
        """Return logits in the precision of x; channels-last is the faster layout for convolutions in bf16."""
        x = x.contiguous(memory_format=torch.channels_last) if self.bf16 else x
        logits: Tensor = self.model(x)
        for _ in range(self.passes - 1):
            logits = logits + self.model(x)
        return logits / self.passes if self.passes > 1 else logits


def searched(model: nn.Module, precision: str, passes: int) -> nn.Module:
    """Return what attacks climb: the model itself where nothing else is asked for."""
    return Search(model, precision == "bf16", passes) if precision == "bf16" or passes > 1 else model


def resolve_precision(asked: str, dtype: torch.dtype, device: torch.device, white_box: bool) -> str:
    """Return bf16, or the name of the images' own precision; InputError for another word, or bf16 for float64."""
    own = str(dtype).removeprefix("torch.")
    choose("precision", asked, ("auto", "float32", "bf16"))
    if asked == "bf16" and dtype != torch.float32:
        raise InputError(f"precision is bf16, but the images are {own}; a search in bf16 is for float32 models")
    fast = white_box and dtype == torch.float32 and has_bf16(device)
    return "bf16" if asked == "bf16" or (asked == "auto" and fast) else own
