"""Pre-activation residual networks (He et al., 2016b) with a stem for small images, as FAST-AT's and FAST-BAT's.

block:       h = act(bn(x));  x -> conv3x3(act(bn(conv3x3(h)))) + (shortcut(h) where the shape changes, else x)
bottleneck:  the same with conv1x1, conv3x3, conv1x1; it puts out four times the channels it works in

The basic block of FAST-BAT's released code has shortcut(x) there, without bn and act.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from fastbat.errors import InputError

STEM_STRIDES = {3: 1, 7: 2, 15: 3}  # by kernel size, as conv1_size of FAST-BAT's released code


class PreActBlock(nn.Module):
    """The basic pre-activation block; a change of shape goes through a 1x1 convolution of the activated input."""

    expansion = 1

    def __init__(
        self, inputs: int, outputs: int, stride: int, activation: Callable[[], nn.Module], dropout: float = 0.0
    ) -> None:
        super().__init__()
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
        shortcut = x if self.shortcut is None else self.shortcut(h)
        h = self.conv2(self.drop(self.act(self.bn2(self.conv1(h)))))
        return h + shortcut  # type: ignore[no-any-return]


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
        shortcut = x if self.shortcut is None else self.shortcut(h)
        h = self.conv2(self.act(self.bn2(self.conv1(h))))
        return self.conv3(self.act(self.bn3(h))) + shortcut  # type: ignore[no-any-return]


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


def preact_resnet(
    block: type[PreActBlock | PreActBottleneck], depths: Sequence[int], *, width: int, **settings: object
) -> nn.Module:
    """Return a PreActResNet of four stages that work in width, 2, 4 and 8 times width channels.

    18: basic blocks, two a stage; 34: 3, 4, 6, 3 of them; 50: as many bottlenecks.
    """
    sizes = [block.expansion * width * 2**i for i in range(4)]
    return PreActResNet(block, depths, sizes, width=width, **settings)  # type: ignore[arg-type]
