"""A small convolutional network for small images (the embedded digits are 8x8)."""

from __future__ import annotations

from collections.abc import Callable

from fastbat.lazy import nn


def cnn(*, num_classes: int, width: int, channels: int, activation: Callable[[], nn.Module]) -> nn.Module:
    """Return three 3x3 convolutions (width, 2 width, 2 width channels; strides 1, 2, 2) and two linear layers.

    Takes any image of 8x8 and above: the last feature map is averaged to 2x2.
    """
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        activation(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        activation(),
        nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
        activation(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * width, 8 * width),
        activation(),
        nn.Linear(8 * width, num_classes),
    )
