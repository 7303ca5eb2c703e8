"""Is bf16 right here? Every convolution and matrix product of an update, against float32 on the same numbers.

    max |op(a, b) in bf16 - op(a, b)| <= TOLERANCE max op(|a|, |b|)        all but the first op in float32

Autocast runs these operations in bf16, by the kernels of a library. A right one leaves at most 1/250 (LOG.md), for it
rounds its result to 8 bits; a wrong one leaves anything. Free memory is filled with NaN first, which shows if a kernel
does not write all of its result. On a CPU oneDNN's does not (torch 2.14) in the weights' gradient of a convolution with
kernel 3 and stride 2 on maps of one pixel.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

TOLERANCE = 1 / 16
TRIES = 3  # what is not written may hold the right numbers by chance
BLOCKS = 16  # of NaN for a result, of at most a megabyte together if they are more than 3
PADDED = 16  # oneDNN's own layouts hold so many channels, or a multiple

aten = torch.ops.aten
PRODUCTS = {
    aten.convolution.default: "convolution",
    aten.convolution_backward.default: "backward pass of the convolution",
    **dict.fromkeys([aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default], "matrix product"),
}
SOUND: set[str] = set()  # products that were right in this process: what they are of


class Products(TorchDispatchMode):
    """Try the products in bf16 that run within the block; `fault` says in words which is the first wrong one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fault: str | None = None
        self.weights = {weight.data_ptr(): (name, sorted(weight.shape)) for name, weight in model.named_parameters()}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Run `func`, and try it if it is a product in bf16 that was not tried before."""
        out = func(*args, **(kwargs or {}))
        if func is aten._to_copy.default and args[0].data_ptr() in self.weights:  # autocast's copy of a weight
            self.weights[out.data_ptr()] = self.weights[args[0].data_ptr()]
        if self.fault is None and func in PRODUCTS and torch.bfloat16 in {part.dtype for part in tensors(args)}:
            kind = str((func, tree_map(lambda part: layout(part) if isinstance(part, Tensor) else part, args)))
            if kind not in SOUND:
                error = largest_error(func, args, kwargs or {})
                if error <= TOLERANCE:
                    SOUND.add(kind)
                else:
                    size = f"off by {error:.2g} of its size" if error < math.inf else "not finite"
                    self.fault = f"the {PRODUCTS[func]} {self.described(func, args)} is {size}"
        return out

    def described(self, func: Any, args: tuple[Any, ...]) -> str:
        """Return the name of a product's weight, if it has one, and what it is of."""
        known = [(*self.weights[part.data_ptr()], part) for part in tensors(args) if part.data_ptr() in self.weights]
        names = [name for name, shape, part in known if shape == sorted(part.shape)]  # not what lies there by now
        if func in (aten.convolution.default, aten.convolution_backward.default):
            x, weight, stride = args[0:2] + args[3:4] if func is aten.convolution.default else args[1:3] + args[4:5]
            of = f"kernel {by(weight.shape[2:])}, stride {by(stride)}, maps of {by(x.shape[2:])}"
        else:
            of = " and ".join(by(part.shape) for part in tensors(args))
        return f"{names[0].removesuffix('.weight')} ({of})" if names else f"({of})"


def largest_error(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """Return the largest error of a product in bf16, in units of its bound; infinity if a result is not finite."""
    full = tree_map(lambda part: part.float() if isinstance(part, Tensor) else part, args)
    sizes = tree_map(lambda part: part.abs() if isinstance(part, Tensor) else part, full)
    true, bounds = tensors(func(*full, **kwargs)), tensors(func(*sizes, **kwargs))
    worst = 0.0
    for _ in range(TRIES):
        gaps = fill_free_memory(true)
        found = tensors(func(*args, **kwargs))
        del gaps
        for result, exact, bound in zip(found, true, bounds, strict=True):
            if bool(bound.isfinite().all()):  # else the numbers that come in are the fault
                error = (result.float() - exact).abs().max() / bound.max().clamp_min(1e-30)
                worst = max(worst, error.nan_to_num(math.inf).item())
    return worst


def fill_free_memory(results: list[Tensor]) -> list[Tensor]:
    """Leave NaN in free memory, in blocks that `results` would take; return what keeps these blocks apart."""
    gaps = []
    for result in results:
        padded = [PADDED * math.ceil(side / PADDED) if i < 2 else side for i, side in enumerate(result.shape)]
        for size in (result.numel(), math.prod(padded), 2 * math.prod(padded)):  # in bf16, the last in float32
            blocks = []
            for _ in range(max(8, min(BLOCKS, 2**19 // size))):
                blocks.append(torch.full((size,), math.nan, dtype=torch.bfloat16, device=result.device))
                gaps.append(torch.zeros(64, device=result.device))
    return gaps


def tensors(tree: Any) -> list[Tensor]:
    """Return the tensors in a tuple of arguments or results."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def layout(tensor: Tensor) -> tuple[Any, ...]:
    """Return what chooses a tensor's kernel."""
    return tensor.device, tensor.dtype, tuple(tensor.shape), tensor.stride()


def by(sides: Any) -> str:
    """Return sides in words: 3 x 3."""
    return " x ".join(map(str, sides))
