"""bf16 convolutions on a CPU that does not multiply in bf16: bf16 operands, products summed in float32, rounded once.

That is what a CPU with bf16 computes, up to the order of its sums; torch's own fallback does so twenty times slower.
Python runs this file at its start where PYTHONPATH names this folder.
"""

from typing import Any

import torch
from torch import Tensor

FORWARD, BACKWARD = torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default
BELOW = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)


def single(tensor: Tensor | None) -> Tensor | None:
    """Return what is bf16 as float32."""
    return tensor.float() if tensor is not None and tensor.dtype == torch.bfloat16 else tensor


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    """Return the convolution in the precision of `x`."""
    return FORWARD.redispatch(BELOW, single(x), single(weight), single(bias), *how).to(x.dtype)


def backward(grad: Tensor, x: Tensor, weight: Tensor, *how: Any) -> tuple[Tensor | None, ...]:
    """Return its gradients, those that are asked for."""
    found = BACKWARD.redispatch(BELOW, single(grad), single(x), single(weight), *how)
    return tuple(None if each is None else each.to(x.dtype) for each in found)


library = torch.library.Library("aten", "IMPL")
library.impl("convolution", forward, "CPU")
library.impl("convolution_backward", backward, "CPU")
