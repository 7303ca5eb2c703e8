"""What a method keeps of every class: images, one a class of the network."""

from __future__ import annotations

from fastbat.lazy import Tensor, nn, torch
from fastbat.runtime.modes import eval_mode


def grey(x: Tensor, count: int) -> Tensor:
    """Return `count` images of the constant 0.5, of the size of x (B, C, H, W)."""
    return x.new_full((count, *x.shape[1:]), 0.5)


def classes_of(model: nn.Module, x: Tensor) -> int:
    """Return the number of classes that `model` has logits of; it is asked in eval mode, by one grey image."""
    with eval_mode(model), torch.no_grad():
        return int(model(grey(x, 1)).shape[1])
