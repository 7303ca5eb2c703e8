"""Pre-activation residual networks (He et al., 2016b) with the stem for 32x32 images, as FAST-AT's and FAST-BAT's.

block:  h = act(bn(x));  x -> conv3x3(act(bn(conv3x3(h)))) + (shortcut(h) where the shape changes, else x)
"""

from torch import Tensor, nn


class PreActBlock(nn.Module):
    """The basic pre-activation block; a change of shape goes through a 1x1 convolution of the activated input."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.act = activation()
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        h = self.act(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(h)
        h = self.conv2(self.act(self.bn2(self.conv1(h))))
        return h + shortcut  # type: ignore[no-any-return]


class PreActResNet(nn.Module):
    """A 3x3 stem, four stages of width, 2, 4 and 8 times width, a last BatchNorm, average pooling, a linear layer."""

    def __init__(
        self,
        depths: tuple[int, ...],
        *,
        num_classes: int,
        width: int,
        channels: int,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.stages = nn.Sequential()
        inputs = width
        for i, depth in enumerate(depths):
            outputs = width * 2**i
            strides = [1 if i == 0 else 2] + [1] * (depth - 1)
            sizes = [inputs] + [outputs] * (depth - 1)
            blocks = [PreActBlock(n, outputs, s, activation) for n, s in zip(sizes, strides, strict=True)]
            self.stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.bn = nn.BatchNorm2d(inputs)
        self.act = activation()
        self.linear = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, channels, H, W) to logits (B, num_classes)."""
        h = self.act(self.bn(self.stages(self.stem(x))))
        return self.linear(h.mean((2, 3)))  # type: ignore[no-any-return]


def preactresnet18(*, num_classes: int, width: int, channels: int, activation: type[nn.Module]) -> nn.Module:
    """Return PreActResNet-18: two blocks a stage; 11,172,170 weights at width 64 and 10 classes."""
    return PreActResNet((2, 2, 2, 2), num_classes=num_classes, width=width, channels=channels, activation=activation)
