"""The model as attacks climb it: inside (0, 1), in bf16 where that is fast, the mean of passes where it is random."""

import torch
from torch import Tensor, nn

from fastbat.attacks import inside
from fastbat.data import unit
from fastbat.errors import InputError, choose
from fastbat.evaluation.check import check_fit, first_device
from fastbat.precision import Autocast, has_bf16


class Search(nn.Module):
    """`model` of images a hair inside (0, 1): its mean logits of `passes` passes, in bf16 or its own precision."""

    def __init__(self, model: nn.Module, bf16: bool, passes: int) -> None:
        super().__init__()
        self.model, self.bf16, self.passes = Autocast(model) if bf16 else model, bf16, passes

    def forward(self, x: Tensor) -> Tensor:
        """Return logits in the precision of x; channels-last is the faster layout for convolutions in bf16."""
        x = inside(x)
        x = x.contiguous(memory_format=torch.channels_last) if self.bf16 else x
        return torch.stack([self.model(x) for _ in range(self.passes)]).mean(0)


def climbed(
    model: nn.Module, asked: str, passes: int, x: Tensor, y: Tensor, white_box: bool
) -> tuple[nn.Module, nn.Module, str]:
    """Return what attacks climb, the same in the model's own precision, and the name of the first one's precision.

    Raises InputError where `asked` is not auto, float32 or bf16, or is bf16 and the images or the model are not for it.
    """
    choose("precision", asked, ("auto", "float32", "bf16"))
    own = str(unit(x[:1]).dtype).removeprefix("torch.")
    if asked == "bf16" and own != "float32":
        raise InputError(f"precision is bf16, but the images are {own}; a search in bf16 is for float32 models")
    sure = Search(model, False, passes)
    fast = white_box and own == "float32" and has_bf16(first_device(model, x))
    if asked == "float32" or (asked == "auto" and not fast):
        return sure, sure, own
    search = Search(model, True, passes)
    try:
        check_fit(search, x, y)
    except InputError as error:
        if asked == "bf16":
            why = "the model does not run under bf16 autocast; say float32"
            raise InputError(f"precision is bf16, but {why}") from error
        return sure, sure, own
    return search, sure, "bf16"
