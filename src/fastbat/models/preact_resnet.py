"""Pre-activation residual networks (He et al., 2016b) with a stem for small images, as FAST-AT's and FAST-BAT's.

block:       h = act(bn(x));  x -> conv3x3(act(bn(conv3x3(h)))) + skip
             skip = x; where the shape changes, conv1x1(x) ("raw") or conv1x1(h) ("preact")
bottleneck:  the same with conv1x1, conv3x3, conv1x1, always "preact"; it puts out four times the channels it works in

"preact" is He's block. "raw" is what the released codes of FAST-AT, FAST-AT-GA, N-FGSM, BACKSMOOTH and FAST-BAT run:
the same weights, another function.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from fastbat.errors import InputError

STEM_STRIDES = {3: 1, 7: 2, 15: 3}  # by kernel size, as conv1_size of FAST-BAT's released code


class PreActBlock(nn.Module):
    """The basic pre-activation block; a change of shape goes through a 1x1 convolution of x or of act(bn(x))."""

    expansion = 1

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        activation: Callable[[], nn.Module],
        *,
        shortcut: str,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.raw = shortcut == "raw"
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.act = activation()
        self.drop = nn.Dropout(dropout)
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        h = self.act(self.bn1(x))
        skip = x if self.shortcut is None else self.shortcut(x if self.raw else h)
        h = self.conv2(self.drop(self.act(self.bn2(self.conv1(h)))))
        return h + skip  # type: ignore[no-any-return]


class PreActBottleneck(nn.Module):
    """The pre-activation bottleneck; the stride is in its 3x3 convolution."""

    expansion = 4

    def __init__(self, inputs: int, outputs: int, stride: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        inner = outputs // self.expansion
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.act = activation()
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        h = self.act(self.bn1(x))
        skip = x if self.shortcut is None else self.shortcut(h)
        h = self.conv2(self.act(self.bn2(self.conv1(h))))
        return self.conv3(self.act(self.bn3(h))) + skip  # type: ignore[no-any-return]


def projection(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """Return the 1x1 convolution that changes the shape, or None where it stays."""
    changes = stride != 1 or inputs != outputs
    return nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if changes else None


class PreActResNet(nn.Module):
    """A stem of `width` channels, stages of `sizes` channels, a last BatchNorm, average pooling, a linear layer.

    Every stage but the first halves the image. `block(inputs, outputs, stride, activation)` builds a block.
    """

    def __init__(
        self,
        block: Callable[..., nn.Module],
        depths: Sequence[int],
        sizes: Sequence[int],
        *,
        num_classes: int,
        width: int,
        channels: int,
        activation: Callable[[], nn.Module],
        stem: int,
    ) -> None:
        super().__init__()
        if stem not in STEM_STRIDES:
            raise InputError(f"stem is {stem}; it must be 3 (stride 1), 7 (stride 2) or 15 (stride 3)")
        self.stem = nn.Conv2d(channels, width, stem, stride=STEM_STRIDES[stem], padding=stem // 2, bias=False)
        self.stages = nn.Sequential()
        inputs = width
        for i, (depth, outputs) in enumerate(zip(depths, sizes, strict=True)):
            strides = [1 if i == 0 else 2] + [1] * (depth - 1)
            widths = [inputs] + [outputs] * (depth - 1)
            blocks = [block(n, outputs, s, activation) for n, s in zip(widths, strides, strict=True)]
            self.stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.bn = nn.BatchNorm2d(inputs)
        self.act = activation()
        self.linear = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, channels, H, W) to logits (B, num_classes)."""
        h = self.act(self.bn(self.stages(self.stem(x))))
        return self.linear(h.mean((2, 3)))  # type: ignore[no-any-return]


def preact_resnet(depths: Sequence[int], *, width: int, shortcut: str, **settings: object) -> nn.Module:
    """Return a PreActResNet of four stages of basic blocks, in width, 2, 4 and 8 times width channels.

    18: two blocks a stage; 34: 3, 4, 6, 3 of them.
    """
    block = partial(PreActBlock, shortcut=shortcut)
    return PreActResNet(block, depths, [width * 2**i for i in range(4)], width=width, **settings)  # type: ignore[arg-type]


def bottleneck_resnet(depths: Sequence[int], *, width: int, **settings: object) -> nn.Module:
    """Return a PreActResNet of four stages of bottlenecks that work in width, 2, 4 and 8 times width channels.

    50: 3, 4, 6, 3 bottlenecks.
    """
    sizes = [PreActBottleneck.expansion * width * 2**i for i in range(4)]
    return PreActResNet(PreActBottleneck, depths, sizes, width=width, **settings)  # type: ignore[arg-type]
