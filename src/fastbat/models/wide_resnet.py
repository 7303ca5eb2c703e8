"""Wide residual networks WRN-d-k (Zagoruyko & Komodakis, 2016): three stages of (d - 4) / 6 wide pre-activation blocks.

Stages of k, 2k and 4k times `width` channels (16 as published), halving the image before the second and the third;
dropout between the two convolutions of a block. Weights: normal, variance 2 / (k_h k_w outputs).

FAST-BAT's released code has one block a stage more under the same names, so its WRN-16-8 is 22 layers deep.
"""

from functools import partial

from torch import nn

from fastbat.models.preact_resnet import PreActBlock, PreActResNet


def wide_resnet(depth: int, k: int, *, width: int, dropout: float, **settings: object) -> nn.Module:
    """Return WRN-depth-k; the other settings are those of PreActResNet."""
    block = partial(PreActBlock, dropout=dropout)
    sizes = [k * width * 2**i for i in range(3)]
    network = PreActResNet(block, [(depth - 4) // 6] * 3, sizes, width=width, **settings)  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    nn.init.zeros_(network.linear.bias)
    return network
