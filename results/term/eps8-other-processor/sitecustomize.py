"""bf16 convolutions on a CPU that does not multiply in bf16: bf16 operands, products summed in float32, rounded once.

That is what a CPU with bf16 computes, up to the order of its sums; torch's own fallback does so, twenty times slower.
"""

import torch

library = torch.library.Library("aten", "IMPL")
whole = torch.ops.aten.convolution_backward.default
FULL = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)


def single(tensor):
    return tensor.float() if tensor is not None and tensor.dtype == torch.bfloat16 else tensor


def forward(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    kind = x.dtype
    if kind != torch.bfloat16 or transposed:
        return torch.ops.aten.convolution.default.redispatch(FULL, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups)
    out = torch.ops.aten.convolution.default.redispatch(FULL, x.float(), weight.float(), single(bias), stride, padding, dilation, transposed, output_padding, groups)
    return out.to(kind)


def backward(grad, x, weight, *rest):
    kind = x.dtype
    found = whole.redispatch(FULL, single(grad), single(x), single(weight), *rest)
    return tuple(None if each is None else each.to(kind) for each in found) if kind == torch.bfloat16 else found


library.impl("convolution", forward, "CPU")
library.impl("convolution_backward", backward, "CPU")
