"""The model as attacks climb it: inside (0, 1), in bf16 where that is fast, the mean of passes where it is random."""

import torch
from torch import Tensor, nn

from fastbat.attacks import inside
from fastbat.errors import InputError, choose
from fastbat.evaluation.attacked import AttackedModel, TestImages
from fastbat.evaluation.check import check_fit
from fastbat.runtime.precision import Autocast, has_bf16


class Search(nn.Module):
    """`model` of images a hair inside (0, 1): its mean logits of `passes` passes, in bf16 or its own precision."""

    def __init__(self, model: nn.Module, bf16: bool, passes: int) -> None:
        super().__init__()
        self.model, self.bf16, self.passes = Autocast(model) if bf16 else model, bf16, passes

    def forward(self, x: Tensor) -> Tensor:
        """Return logits in the precision of x; channels-last is the faster layout for convolutions in bf16."""
        x = inside(x)
        x = x.contiguous(memory_format=torch.channels_last) if self.bf16 else x
        if self.passes == 1:
            return self.model(x)  # type: ignore[no-any-return]
        return torch.stack([self.model(x) for _ in range(self.passes)]).mean(0)


def attacked_model(
    model: nn.Module, asked: str, passes: int, images: TestImages, white_box: bool
) -> tuple[AttackedModel, str]:
    """Return the model as it is attacked, and the name of the precision of the search.

    Raises InputError where `asked` is not auto, float32 or bf16, or is bf16 and the images or the model are not for it.
    """
    choose("precision", asked, ("auto", "float32", "bf16"))
    own = str(images.batch(slice(1))[0].dtype).removeprefix("torch.")
    if asked == "bf16" and own != "float32":
        raise InputError(f"precision is bf16, but the images are {own}; a search in bf16 is for float32 models")
    climbed = Search(model, False, passes)
    fast = white_box and own == "float32" and has_bf16(images.device)
    if asked == "float32" or (asked == "auto" and not fast):
        return AttackedModel(model, climbed, climbed), own
    search = Search(model, True, passes)
    try:
        check_fit(search, images)
    except InputError as error:
        if asked == "bf16":
            why = "the model does not run under bf16 autocast; say float32"
            raise InputError(f"precision is bf16, but {why}") from error
        return AttackedModel(model, climbed, climbed), own
    return AttackedModel(model, climbed, search), "bf16"
