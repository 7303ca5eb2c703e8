"""A dry run, before anything is written: one update of a copy. Not every network suits the images and the method."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fastbat.data import Batch, Loader
from fastbat.data.batch_check import check_dense
from fastbat.data.share import ALONE
from fastbat.errors import InputError, no_memory
from fastbat.methods import Method
from fastbat.models.finite import finite, not_finite

IMAGES = 8


def first_images(loader: Loader, parts: int) -> Batch:
    """Return the first training images as a batch: IMAGES, or as many as one of `parts` of a batch holds."""
    size = loader.batch_size // max(1, min(parts, loader.batch_size // 2))
    batch = next(replace(loader, images=loader.images.slice(0, min(size, IMAGES)), shares=ALONE).epoch(0))
    return replace(batch, step=0, progress=0.0)


@contextmanager
def one_line(what: str) -> Iterator[None]:
    """Raise an InputError that says `what` and why, where the block raises whatever a network of others does."""
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or no_memory(error):
            raise
        raise InputError(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def on_device_of(x: Tensor, model: nn.Module) -> nn.Module:
    """Return `model` where images x (B, C, H, W) are, ready to be trained.

    Lazy layers take their shapes from x, and draw weights. Tensors of inference mode become ordinary ones.
    """
    with one_line(f"the model does not take images {tuple(x.shape)}"), torch.no_grad():
        model = model.to(x.device)
        if any(is_lazy(tensor) for tensor in [*model.parameters(), *model.buffers()]):
            model.eval()(x)
        if any(tensor.is_inference() for tensor in [*model.parameters(), *model.buffers()]):
            model = deepcopy(model)
    return model


def check_trainable(model: nn.Module) -> None:
    """Raise InputError where no weight of `model` takes a gradient, or one has no numbers."""
    weights = list(model.parameters())
    for weight in weights:
        check_dense("the model's weights", weight)
    if not any(weight.requires_grad for weight in weights):
        what = f"all {len(weights)} weights of the model are frozen" if weights else "the model has no weights"
        raise InputError(f"{what}: nothing can be trained; give it some with requires_grad=True")


def dry_run(net: nn.Module, model: nn.Module, method: Method, batch: Batch, classes: int) -> str | None:
    """Make one update's gradients; return in words what of them is not finite, None if all is.

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
    method, shape = replace(method), tuple(batch.x.shape)  # type: ignore[type-var]
    with one_line(f"the model does not take images {shape}"):
        for training in (False, True):
            check_logits(model.train(training), batch.x, classes)
    with one_line(f"{type(method).__name__} cannot train this model on images {shape}"):
        try:
            for loss in method.losses(net, batch):
                if not finite(loss):
                    return f"the loss is {loss.item():g}"
                loss.backward()
        except RuntimeError as error:
            if fault := no_gradient(model, batch.x):
                raise InputError(f"{type(method).__name__} cannot train this model: {fault}") from error
            raise
    bad = [name for name, weight in model.named_parameters() if weight.grad is not None and not finite(weight.grad)]
    return f"the gradient of {bad[0]} is not finite" if bad else None


def no_gradient(model: nn.Module, x: Tensor) -> str | None:
    """Return in words what the output of `model` has no gradient with respect to, None where nothing is missing."""
    probe = x.detach().requires_grad_()
    logits = model(probe)
    if not logits.requires_grad:
        return "its output has no gradient; is it detached, or computed within no_grad?"
    if torch.autograd.grad(logits.sum(), probe, allow_unused=True)[0] is None:
        return "its output has no gradient with respect to the images, which an attack climbs"
    return None


@torch.no_grad()
def check_logits(model: nn.Module, x: Tensor, classes: int) -> None:
    """Raise InputError unless `model` gives logits (B, classes) for images x, all finite."""
    logits, expected = model(x), (len(x), classes)
    if not isinstance(logits, Tensor):
        found, mode = type(logits).__name__, "train" if model.training else "eval"
        raise InputError(
            f"the model returns {found} for {len(x)} images in {mode} mode; expected logits {expected}: "
            "wrap it in a function of yours that returns them alone (--model MODULE:FUNCTION)"
        )
    check_dense("the model's logits", logits)
    if logits.shape != expected:
        raise InputError(f"the model returns {tuple(logits.shape)} for {len(x)} images; expected logits {expected}")
    if not finite(logits) and (fault := not_finite(model, x)):
        raise InputError(f"{fault}; nothing was trained: check the network, and its --init-from if it has one")
