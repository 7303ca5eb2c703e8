"""Attacks that are made in eval mode while the model is being trained (TRADES, ATTA, BACKSMOOTH)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastbat.lazy import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put every module into eval mode within the block, and back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
