"""The model as attacks climb it: a pixel at 0 or 1 is given to it a hair inside (0, 1).

torch's clamp (2.13 and newer) has gradient 0 at exactly 0 and 1, its relu at 0. So a model that clamps its input shows
no gradient there, where the box of Eq. 9 puts many pixels, and an attack that stops at them finds less than there is.
"""

import torch
from torch import Tensor, nn

HAIR = 1e-6  # above the rounding of float32, far below a grey level


def inside(x: Tensor) -> Tensor:
    """Return x (B, C, H, W) within [HAIR, 1 - HAIR], with the gradient of x itself; other pixels stay as they are."""
    with torch.no_grad():
        moved = x.clamp(HAIR, 1 - HAIR) - x
    return x + moved


class Inside(nn.Module):
    """`model` of images a hair inside (0, 1)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's logits."""
        logits: Tensor = self.model(inside(x))
        return logits
