"""One update on a copy, before anything is written: not every network suits the images, the method, a batch of one."""

from dataclasses import replace

from torch import nn

from fastbat.data import Batch
from fastbat.errors import InputError, no_memory
from fastbat.methods import Method


def rehearse(model: nn.Module, method: Method, batch: Batch, classes: int) -> None:
    """Raise InputError unless `method`, which stays as it is, can train `model`, a copy, on images as in `batch`."""
    model, method = model.train(), replace(method)  # type: ignore[type-var]
    try:
        shape = tuple(model(batch.x).shape)
        if shape != (len(batch.x), classes):
            raise ValueError(f"the model's output has shape {shape}, expected {(len(batch.x), classes)}")
        for loss in method.losses(model, batch):
            loss.backward()
    except Exception as error:  # whatever a network of others raises
        if isinstance(error, InputError) or no_memory(error):
            raise
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(
            f"{type(method).__name__} cannot train this model on {tuple(batch.x.shape)}: {what}"
        ) from error
