"""Images and models that cannot be evaluated, found before any attack starts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastbat.attacks.ensemble import MIN_CLASSES_TARGETED, TARGETED
from fastbat.data import ImageSet
from fastbat.data.batch_check import check_dense, check_range
from fastbat.errors import InputError, no_memory
from fastbat.evaluation.attacked import TestImages
from fastbat.evaluation.request import BLACK_BOX

WHOLE = (torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32)  # or int64


def gather(data: Any, limit: int | None) -> tuple[Tensor, Tensor]:
    """Return images (N, C, H, W) and labels (N,) of (x, y), or of a loader of such pairs or of objects with x and y.

    Those of an ImageSet stay bytes.
    """
    if isinstance(data, ImageSet):
        images = data.slice(0, limit).decoded()
        return images.pixels, images.labels
    if isinstance(data, tuple | list) and len(data) == 2 and all(hasattr(part, "__array__") for part in data):
        x, y = _tensors(data)
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
        x, y = _joined(map(_pair, data), limit)
    else:
        raise InputError(f"data is a {type(data).__name__}; expected tensors (x, y) or a loader of them")
    x, y = x[:limit].detach(), y[:limit].to(x.device)
    y = y.long() if y.dtype in WHOLE else y
    _check_data(x, y)
    return (x.clamp(0, 1) if x.min() < 0 or x.max() > 1 else x), y


def _tensors(pair: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Return arrays (x, y) of any library as dense tensors."""
    x, y = map(_tensor, pair)
    check_dense("images", x)
    check_dense("labels", y)
    return x, y


def _tensor(array: Any) -> Tensor:
    """Return an array of another library as a tensor; one of inference mode as a copy that autograd takes."""
    if isinstance(array, Tensor):
        return array.clone() if array.is_inference() else array
    if isinstance(array, np.ma.MaskedArray):
        raise InputError("an array is masked; fill in what is masked, or leave these images out")
    kind = np.asarray(array).dtype
    try:
        copy = torch.from_numpy(np.array(array, dtype=kind.newbyteorder("=")))  # of any strides, rights, byte order
        return copy.float() if kind == np.float64 else copy  # float64 is what NumPy makes unasked
    except TypeError as error:
        raise InputError(f"an array holds {kind}; expected images in float32 and labels in int64") from error


def _joined(pairs: Iterable[tuple[Tensor, Tensor]], limit: int | None) -> tuple[Tensor, Tensor]:
    parts: list[tuple[Tensor, Tensor]] = []
    for pair in pairs:
        parts.append(pair)
        if limit is not None and sum(len(y) for _, y in parts) >= limit:
            break
    if not parts:
        raise InputError("the loader gave no batch; there is nothing to evaluate")
    if len(shapes := {(tuple(x.shape[1:]), x.dtype, y.dtype, y.ndim) for x, y in parts}) > 1:
        sizes = ", ".join(sorted({str(shape) for shape, *_ in shapes}))
        raise InputError(f"the loader gives images of different kinds ({sizes}); give all one size and type")
    xs, ys = zip(*parts, strict=True)
    return torch.cat(xs), torch.cat(ys)


def _pair(item: Any) -> tuple[Tensor, Tensor]:
    pair = (item.x, item.y) if hasattr(item, "x") and hasattr(item, "y") else item
    arrays = isinstance(pair, tuple | list) and all(hasattr(part, "__array__") and part.ndim for part in pair)
    if not arrays or len(pair) != 2:
        raise InputError(
            f"the loader gives a {type(item).__name__}; expected batches of tensors (x, y), or with x and y"
        )
    return _tensors(pair)


def _check_data(x: Tensor, y: Tensor) -> None:
    if x.ndim != 4 or y.ndim != 1 or len(x) != len(y):
        raise InputError(f"images of shape {tuple(x.shape)}, labels {tuple(y.shape)}; expected (N, C, H, W) and (N,)")
    if x.numel() == 0:
        raise InputError(f"no images in {tuple(x.shape)}; there is nothing to evaluate")
    if x.dtype not in (torch.float32, torch.float64) or y.dtype != torch.int64:
        raise InputError(f"images are {x.dtype}, labels {y.dtype}; expected float32 in [0, 1] (bytes: / 255) and int64")
    bad = ~x.isfinite().flatten(1).all(1)
    if bad.any():
        raise InputError(
            f"{int(bad.sum())} images are not finite, the first at {int(bad.nonzero()[0])}; fix or drop them"
        )
    check_range(x.min().item(), x.max().item())


def check_networks(model: Any, surrogates: Mapping[str, Any]) -> None:
    """Raise InputError unless model and surrogates are modules: a function has no modes and no weights to hold."""
    for what, network in {
        "the model": model,
        **{f"the surrogate {name}": each for name, each in surrogates.items()},
    }.items():
        if not isinstance(network, nn.Module):
            raise InputError(
                f"{what} is of type {type(network).__name__}; it must be an nn.Module, (B, C, H, W) -> (B, classes)"
            )


def check_models(
    model: nn.Module,
    surrogates: Mapping[str, nn.Module],
    images: TestImages,
    attacks: Sequence[str],
    names: Sequence[str] | None,
) -> tuple[int, bool]:
    """Return the number of classes, and whether the model's output has a gradient; InputError where it is missed.

    `names` are the classes of the data set, where they are known.
    """
    classes, white_box = check_fit(model, images)
    if names is not None and len(names) != classes:
        raise InputError(f"the model has {classes} outputs, the data set {len(names)} classes; they must be the same")
    if not white_box and (blind := [attack for attack in attacks if attack not in BLACK_BOX]):
        raise InputError(
            f"the model's output has no gradient with respect to the images, which {', '.join(blind)} would climb; "
            f"without one there are {', '.join(BLACK_BOX)}"
        )
    if classes < MIN_CLASSES_TARGETED and (few := [attack for attack in attacks if attack in TARGETED]):
        raise InputError(f"{', '.join(few)} needs at least {MIN_CLASSES_TARGETED} classes; the model has {classes}")
    if images.x.dtype == torch.float64 and (
        single := [each for each in attacks if each in ("aa", "apgd-ce", *TARGETED)]
    ):
        raise InputError(f"{', '.join(single)} computes in float32, but the images are float64; convert both: .float()")
    for name, surrogate in surrogates.items():
        try:
            outputs, climbed = check_fit(surrogate, TestImages.of(images.x, images.y, surrogate))
        except InputError as error:
            raise InputError(f"the surrogate {name}: {error}") from error
        if outputs != classes:
            raise InputError(f"the surrogate {name} has {outputs} outputs, the model {classes}; they must be the same")
        if not climbed:
            raise InputError(f"the surrogate {name} has no gradient with respect to the images; PGD needs one")
    return classes, white_box


def check_fit(model: nn.Module, images: TestImages) -> tuple[int, bool]:
    """Return the number of classes, and whether there is a gradient; InputError where model and data do not fit.

    One image and three are tried: attacks end on few images, and some models take batches of one size alone.
    """
    _answer(model, images.batch(slice(1))[0])
    probe, logits = _answer(model, images.batch(slice(3))[0])
    if not logits.is_floating_point() or logits.element_size() < 4:
        raise InputError(f"the model returns {logits.dtype}; robust accuracy is measured in float32: convert it first")
    classes = logits.shape[1]
    if classes < 2:
        raise InputError("the model has 1 output; an attack needs at least 2 classes")
    low, high = int(images.y.min()), int(images.y.max())
    if low < 0 or high >= classes:
        raise InputError(f"labels lie in {low}..{high}, but the model has {classes} outputs; they must match")
    if not logits.requires_grad:
        return classes, False
    try:
        return classes, torch.autograd.grad(logits.sum(), probe, allow_unused=True)[0] is not None
    except Exception as error:  # an operation of others without a backward pass
        why = " ".join(str(error).split())
        raise InputError(f"the model has no backward pass ({type(error).__name__}: {why})") from error


def _answer(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images as the model takes them, and its logits for them."""
    probe = x.detach().requires_grad_()
    try:
        logits = model(probe)
    except Exception as error:  # whatever a network of others raises
        if no_memory(error):
            raise
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
        raise InputError(f"the model does not take {probe.dtype} images of shape {tuple(x.shape)}: {reason}") from error
    if isinstance(logits, Tensor):
        check_dense("the model's logits", logits)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"the model returns {found} for {len(x)} images; expected logits (N, classes)")
    return probe, logits
