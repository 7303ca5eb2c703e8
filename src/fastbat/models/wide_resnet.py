"""Wide residual networks WRN-d-k (Zagoruyko & Komodakis, 2016): three stages of wide pre-activation blocks.

Stages of k, 2k and 4k times `width` channels (16 as published), halving the image before the second and the third;
dropout between the two convolutions of a block; shortcuts of the activated input ("preact").

published:  (d - 4) / 6 blocks a stage; convolutions normal, variance 2 / (k_h k_w outputs)
released:   FAST-BAT's code: a block a stage more, so that its WRN-16-8 has 22 layers and 17.2 million weights;
            convolutions normal, variance 2 / (k_h k_w inputs); the linear layer starts at 0
"""

from functools import partial

from torch import nn

from fastbat.models.preact_resnet import PreActBlock, PreActResNet


def wide_resnet(depth: int, k: int, *, width: int, dropout: float, **settings: object) -> nn.Module:
    """Return WRN-depth-k as published; the other settings are those of PreActResNet."""
    return initialised(stages((depth - 4) // 6, k, width, dropout, **settings), "fan_out")


def released_wide_resnet(depth: int, k: int, *, width: int, dropout: float, **settings: object) -> nn.Module:
    """Return what FAST-BAT's released code calls WRN-depth-k; the other settings are those of PreActResNet."""
    network = initialised(stages((depth - 4) // 6 + 1, k, width, dropout, **settings), "fan_in")
    nn.init.zeros_(network.linear.weight)
    return network


def stages(blocks: int, k: int, width: int, dropout: float, **settings: object) -> PreActResNet:
    """Return three stages of `blocks` blocks."""
    block = partial(PreActBlock, shortcut="preact", dropout=dropout)
    return PreActResNet(block, [blocks] * 3, [k * width * 2**i for i in range(3)], width=width, **settings)  # type: ignore[arg-type]


def initialised(network: PreActResNet, fan: str) -> PreActResNet:
    """Draw the convolutions of `network` anew, with variance 2 / `fan`; its last bias is 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=fan)  # type: ignore[arg-type]
    nn.init.zeros_(network.linear.bias)
    return network
