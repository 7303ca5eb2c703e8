"""A network by name, behind its normalisation."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from fastbat.errors import InputError, choose
from fastbat.models.activation import ACTIVATIONS
from fastbat.models.cnn import cnn
from fastbat.models.preact_resnet import preactresnet18


class Architecture(Protocol):
    """A function that builds a network without normalisation."""

    def __call__(self, *, num_classes: int, width: int, channels: int, activation: type[nn.Module]) -> nn.Module:
        """Build it: `channels` of the images, `width` channels after the first layer."""


MODELS: dict[str, Architecture] = {"cnn": cnn, "preactresnet18": preactresnet18}
DEFAULT_WIDTH = {"cnn": 32, "preactresnet18": 64}


class Normalize(nn.Module):
    """x -> (x - mean) / std, per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise images (B, C, H, W) in [0, 1]; ValueError for another number of channels, which would broadcast."""
        if x.shape[-3] != len(self.mean):
            raise ValueError(f"images of {x.shape[-3]} channels, a model of {len(self.mean)}")
        return (x - self.mean) / self.std


def build_model(
    name: str,
    *,
    num_classes: int = 10,
    width: int | None = None,
    activation: str = "relu",
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> nn.Sequential:
    """Return the network `name` of MODELS behind its normalisation: (B, C, H, W) in [0, 1] -> (B, num_classes).

    `width` is the number of channels of the first layer (the paper's PreActResNet-18: 64), `activation` one of
    relu, softplus (beta 10), swish; `mean` and `std` have a number per channel and so fix C. Weights come from torch's
    global generator. Raises InputError for an unknown name or a size below 1.
    """
    build = MODELS[choose("model", name, MODELS)]
    act = ACTIVATIONS[choose("activation", activation, ACTIVATIONS)]
    width = DEFAULT_WIDTH[name] if width is None else width
    for what, size in {"width": width, "num_classes": num_classes}.items():
        if size < 1:
            raise InputError(f"{what} is {size}; a network needs at least 1")
    network = build(num_classes=num_classes, width=width, channels=len(mean), activation=act)
    return nn.Sequential(OrderedDict(normalize=Normalize(mean, std), network=network))
