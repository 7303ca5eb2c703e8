"""What a batch must be: images (B, C, H, W), floating point, finite, in [0, 1]; labels (B,), int64, from 0.

Shapes and types are known on the host. Values are reduced to three numbers, which a CPU has at once. A GPU is waited
for in its first batch alone: the numbers of a later one are looked at when they have come, as a rule one batch late.
"""

import threading
from collections import deque
from typing import Any

import torch
from torch import Tensor
from torch.masked import MaskedTensor

from fastbat.errors import InputError

ROUNDING = 1e-5  # how far outside [0, 1] rounding may leave a pixel; half a step of 8 bits is 2e-3
OVERSHOOT = 0.1  # and interpolation, contrast or noise


class Coming(threading.local):
    """Numbers that GPUs have not finished, each with the event behind it; a thread has those of its own batches."""

    def __init__(self) -> None:
        self.of_gpu: dict[torch.device, deque[tuple[Tensor, torch.cuda.Event]]] = {}


COMING = Coming()


def check_batch(x: Any, y: Any) -> None:
    """Raise InputError unless images x and labels y are what a method trains on."""
    check_kinds(x, y)
    found = torch.stack([*x.detach().aminmax(), y.min().to(x.dtype)])  # lowest and highest pixel, lowest label
    if not x.is_cuda:
        check_values(*found.tolist())
    elif not torch.cuda.is_current_stream_capturing():
        check_what_has_come(found)


def check_what_has_come(found: Tensor) -> None:
    """Send the numbers `found` to the host, and check all that are there; wait for the first of a GPU."""
    first = found.device not in COMING.of_gpu
    coming = COMING.of_gpu.setdefault(found.device, deque())
    coming.append((found.to("cpu", non_blocking=True), torch.cuda.current_stream(found.device).record_event()))
    if first:
        coming[0][1].synchronize()
    while coming and coming[0][1].query():
        try:
            check_values(*coming.popleft()[0].tolist())
        except InputError:
            coming.clear()  # of the same loop, which ends here
            raise


def check_kinds(x: Any, y: Any) -> None:
    """Raise InputError unless x and y are tensors of the right shapes and types, on one device."""
    for what, part in {"images": x, "labels": y}.items():
        if not isinstance(part, Tensor):
            raise InputError(f"{what} are a {type(part).__name__}; give a tensor")
        check_dense(what, part)
    if x.ndim != 4 or y.ndim != 1 or len(x) != len(y):
        raise InputError(f"images of shape {tuple(x.shape)}, labels {tuple(y.shape)}; expected (B, C, H, W) and (B,)")
    if x.numel() == 0:
        raise InputError(f"images of shape {tuple(x.shape)} hold no pixel; leave empty batches out")
    if x.dtype not in (torch.float32, torch.float64):
        raise InputError(f"images are {x.dtype}; give float32 in [0, 1] (bytes: x / 255; half precision: x.float())")
    if y.dtype != torch.int64:
        raise InputError(f"labels are {y.dtype}; give class numbers, int64: y.long()")
    if x.device != y.device:
        raise InputError(f"images are on {x.device}, labels on {y.device}; move both to one device")


def check_dense(what: str, tensor: Tensor) -> None:
    """Raise InputError where `tensor`, called `what` (in the plural), is nested, masked, sparse, or has no numbers."""
    if tensor.is_nested:
        raise InputError(f"{what} are a nested tensor; give a dense one: torch.stack, of parts of one size")
    if isinstance(tensor, MaskedTensor):
        raise InputError(f"{what} are a masked tensor; fill in what is masked: .to_tensor(0)")
    if tensor.layout is not torch.strided:
        raise InputError(f"{what} are in the layout {tensor.layout}; give a dense tensor: .to_dense()")
    if tensor.is_meta:
        raise InputError(f"{what} are on the device meta, which holds no numbers; give them on a real device")


def check_values(low: float, high: float, label: float) -> None:
    """Raise InputError unless pixels from `low` to `high` are finite, in the range, and labels start at 0."""
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise InputError("a batch holds pixels that are not finite; fix or drop these images")
    check_range(low, high)
    if label < 0:
        raise InputError(f"the lowest label is {label:.0f}; labels are class numbers from 0")


def check_range(low: float, high: float) -> None:
    """Raise InputError unless pixels from `low` to `high` lie in [0, 1], to rounding."""
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise InputError(f"images lie in [{low:.7g}, {high:.7g}]; they must lie in [0, 1]: {remedy(low, high)}")


def remedy(low: float, high: float) -> str:
    """Return what brings pixels from `low` to `high` into [0, 1]."""
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        return "clamp them, x.clamp(0, 1)"
    if low >= 0 and high <= 2:
        return "it is not known what is white; scale them in the loader"
    if low >= 0:
        return f"divide them by {next((top for top in (255, 65535) if high <= top), 'their largest value')}"
    return "normalise inside the model, not in the loader"
