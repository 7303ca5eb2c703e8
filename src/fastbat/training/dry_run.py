"""A dry run, before anything is written: one update of a copy. Not every network suits the images and the method."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fastbat.data import Batch, Loader
from fastbat.errors import InputError, no_memory
from fastbat.methods import Method
from fastbat.models.finite import finite, not_finite

IMAGES = 8


def first_images(loader: Loader, parts: int) -> Batch:
    """Return the first training images as a batch: IMAGES, or as many as one of `parts` of a batch holds."""
    size = loader.batch_size // max(1, min(parts, loader.batch_size // 2))
    return next(replace(loader, images=loader.images.slice(0, min(size, IMAGES))).epoch(0))


def materialise(model: nn.Module, x: Tensor) -> None:
    """Let lazy layers take their shapes from images x (B, C, H, W), and draw their weights."""
    if any(is_lazy(tensor) for tensor in [*model.parameters(), *model.buffers()]):
        with torch.no_grad():
            model.eval()(x)


def dry_run(net: nn.Module, model: nn.Module, method: Method, batch: Batch, classes: int) -> str | None:
    """Make one update of `model`; return in words what of it is not finite, None if all is.

    Args:
        net: runs `model` as the training does, in its precision.
        model: a copy; its gradients and statistics change.
        method: stays as it is, its memory too.
        batch: a few training images.
        classes: of the data set.

    Raises:
        InputError: The model does not take the images, its output is not logits (B, classes) or not finite, or
            `method` cannot train it.
    """
    method = replace(method)  # type: ignore[type-var]
    try:
        for training in (False, True):
            check_logits(model.train(training), batch.x, classes)
        for loss in method.losses(net, batch):
            if not finite(loss):
                return f"the loss is {loss.item():g}"
            loss.backward()
    except Exception as error:  # whatever a network of others raises
        if isinstance(error, InputError) or no_memory(error):
            raise
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(
            f"{type(method).__name__} cannot train this model on {tuple(batch.x.shape)}: {what}"
        ) from error
    bad = [name for name, weight in model.named_parameters() if weight.grad is not None and not finite(weight.grad)]
    return f"the gradient of {bad[0]} is not finite" if bad else None


@torch.no_grad()
def check_logits(model: nn.Module, x: Tensor, classes: int) -> None:
    """Raise InputError unless `model` gives logits (B, classes) for images x, all finite."""
    logits = model(x)
    if not isinstance(logits, Tensor):
        mode = "train" if model.training else "eval"
        raise InputError(
            f"the model returns {type(logits).__name__} for {len(x)} images in {mode} mode; expected logits "
            f"({len(x)}, {classes}): wrap it in a function of yours that returns them alone (--model MODULE:FUNCTION)"
        )
    if logits.shape != (len(x), classes):
        raise InputError(
            f"the model returns {tuple(logits.shape)} for {len(x)} images; expected logits ({len(x)}, {classes})"
        )
    if fault := not_finite(model, x):
        raise InputError(f"{fault}; nothing was trained: check the network, and its --init-from if it has one")
