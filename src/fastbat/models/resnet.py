"""ResNet-18 with a stem for small images, as in public benchmarks of adversarial training: activations come last.

block:  x -> act(bn(conv3x3(act(bn(conv3x3(x))))) + skip);  skip = x, or bn(conv1x1(x)) where the shape changes
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn


class Block(nn.Module):
    """The basic block of He et al. (2016a)."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.act = activation()
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        h = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        return self.act(h + self.shortcut(x))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """A stem, four stages of blocks in width, 2, 4 and 8 times width channels, average pooling, a linear layer.

    Every stage but the first halves the image.
    """

    def __init__(
        self,
        depths: Sequence[int],
        *,
        num_classes: int,
        width: int,
        channels: int,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.act = activation()
        self.stages = nn.Sequential()
        inputs = width
        for i, depth in enumerate(depths):
            blocks = nn.Sequential()
            for j in range(depth):
                blocks.append(Block(inputs, width * 2**i, 2 if i and not j else 1, activation))
                inputs = width * 2**i
            self.stages.append(blocks)
        self.linear = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, channels, H, W) to logits (B, num_classes)."""
        h = self.stages(self.act(self.bn(self.stem(x))))
        return self.linear(h.mean((2, 3)))  # type: ignore[no-any-return]
