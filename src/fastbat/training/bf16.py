"""Is bf16 correct here? Every convolution and matrix product of an update, against float32 on the same numbers.

    max |op(a, b) in bf16 - op(a, b)| <= TOLERANCE max op(|a|, |b|)        all but the first op in float32

Autocast runs these operations in bf16, by the kernels of a library. A correct one rounds its result to 8 bits, an error
of 1/512; sums add to it, up to 1/300 so far. A wrong one leaves anything. Free memory is filled with NaN first, so that
it shows if a kernel does not write all of its result, as oneDNN's do not for the weights' gradient of a convolution
with a stride, on maps of one or two pixels (docs/log/2026-11-28-bf16-unwritten-gradient.md). Whole gradients are not
compared: in bf16 those of a residual network differ by 90 %, and nothing is wrong.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

TOLERANCE = 1 / 16
TRIES = 3  # what is not written may hold the right numbers by chance
BLOCK = 16  # oneDNN's own layouts hold so many channels, or a multiple

aten = torch.ops.aten
FORWARD, BACKWARD = aten.convolution.default, aten.convolution_backward.default
PRODUCTS = {FORWARD, BACKWARD, aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default}
CORRECT: set[str] = set()  # products that were tried in this process and found so, by operation and layouts


class Products(TorchDispatchMode):
    """Try each product in bf16 that runs within the block; `fault` says in words which is the first wrong one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fault: str | None = None

    def __torch_dispatch__(self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Run `op`; try it, too, if it is a product in bf16."""
        out = op(*args, **(kwargs or {}))
        if self.fault is None and op in PRODUCTS and any(part.dtype == torch.bfloat16 for part in tensors(args)):
            self.fault = fault(op, args, kwargs or {})
        return out


def fault(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return in words what is wrong with a product in bf16; None if nothing is, or its like was found correct."""
    kind = str((op, tree_map(lambda part: layout(part) if isinstance(part, Tensor) else part, args)))
    if kind in CORRECT:
        return None
    error = largest_error(op, args, kwargs)
    if error <= TOLERANCE:
        CORRECT.add(kind)
        return None
    return f"{described(op, args)} is {f'off by {error:.2g} of its size' if error < math.inf else 'not finite'}"


def largest_error(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
    """Return the largest error of a product in bf16, in units of its bound; infinity if a result is not finite."""
    full = tree_map(lambda part: part.float() if isinstance(part, Tensor) else part, args)
    sizes = tree_map(lambda part: part.abs() if isinstance(part, Tensor) else part, full)
    exact = tensors(op(*full, **kwargs))
    bounds = tensors(op(*sizes, **{name: abs(factor) for name, factor in kwargs.items()}))  # of addmm: alpha, beta
    worst = 0.0
    for _ in range(TRIES):
        spoil_free_memory(exact)
        found = tensors(op(*args, **kwargs))
        for result, true, bound in zip(found, exact, bounds, strict=True):
            if result.numel() and bool(bound.isfinite().all()):  # else the numbers that come in are the fault
                error = (result.float() - true).abs().max() / bound.max().clamp_min(1e-30)
                worst = max(worst, error.nan_to_num(math.inf).item())
    return worst


def spoil_free_memory(results: Sequence[Tensor]) -> None:
    """Leave NaN in free memory, in blocks that a kernel would take for `results`: as they are, or padded by oneDNN."""
    blocks = []
    for result in results:
        padded = math.prod(-(-side // BLOCK) * BLOCK if i < 2 else side for i, side in enumerate(result.shape))
        for size in (result.numel(), padded, 2 * padded):  # in bf16, the last in float32
            count = max(1, min(16, 2**19 // max(1, size)))  # a megabyte together, if one is no larger
            blocks += [torch.full((size,), math.nan, dtype=torch.bfloat16, device=result.device) for _ in range(count)]


def described(op: Any, args: Sequence[Any]) -> str:
    """Return in words which product this is."""
    if op not in (FORWARD, BACKWARD):
        return f"the product of matrices {' and '.join(by(part.shape) for part in tensors(args))}"
    x, weight, stride = (args[0], args[1], args[3]) if op is FORWARD else (args[1], args[2], args[4])
    how = f"kernel {by(weight.shape[2:])}, stride {by(stride)}, input {by(x.shape[1:])}"
    return f"the {'' if op is FORWARD else 'backward pass of the '}convolution ({how})"


def tensors(tree: Any) -> list[Tensor]:
    """Return the tensors in a tuple of arguments or results."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def layout(tensor: Tensor) -> tuple[Any, ...]:
    """Return what chooses a tensor's kernel."""
    return tensor.device, tensor.dtype, tuple(tensor.shape), tensor.stride()


def by(sides: Sequence[int]) -> str:
    """Return sides in words: 3 x 3."""
    return " x ".join(map(str, sides))
