"""Memory layout of a network's weights, which the images of its passes follow: chosen by what was measured (docs/log).

Channels-last: convolutions in bf16 and BatchNorm are fastest there. Not where a method differentiates twice, since
BatchNorm's second derivative is a chain of elementwise kernels, slowest there; nor for narrow networks on a CPU, whose
shortcuts write past their memory there (oneDNN issue 6035, torch 2.14, 2.15).
"""

import torch
from torch import nn

ONEDNN_BLOCK = 16  # channels; 8 without AVX512, where the fault was seen


def pick_layout(
    model: nn.Module, *, ours: bool, twice: bool, precision: str, device: torch.device
) -> torch.memory_format:
    """Return the layout for a network, `ours` or others', that is differentiated `twice` or not, in `precision`."""
    pays = not narrow(model) if device.type == "cpu" else precision == "bf16"
    return torch.channels_last if ours and pays and not twice else torch.contiguous_format


def narrow(model: nn.Module) -> bool:
    """Say whether a convolution of single pixels skips some and has fewer input channels than oneDNN has in a block."""
    layers = (layer for layer in model.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1))
    return any(max(layer.stride) > 1 and layer.in_channels < ONEDNN_BLOCK for layer in layers)
