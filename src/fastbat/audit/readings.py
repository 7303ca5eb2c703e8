"""How a model of others is read, and how else it may be: its normalisation, and where its shortcuts start.

A state_dict says neither, and the wrong one costs accuracy without a word. What was asked for is measured, but other
readings are tried, and named where they are more accurate.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastbat.audit.normalisation import listed
from fastbat.data import ImageSet, dataset_card
from fastbat.data.images import mean_and_std
from fastbat.evaluation import TestImages, correct, frozen, wilson
from fastbat.evaluation.interval import difference
from fastbat.evaluation.measures import answered
from fastbat.models import Normalize
from fastbat.models.preact_resnet import PreActBlock

IMAGES = 200
FEWEST = 50  # images of which something is said
LEAST_GAIN = 2  # points
HALF = 0.5  # mean and standard deviation that take images to [-1, 1]


@dataclass(frozen=True)
class Reading:
    """A model of others as it is read."""

    network: nn.Module
    """Takes normalised images."""
    scale: Normalize | None = None
    """The normalisation in front of it, if there is one."""
    own: Normalize | None = None
    """The same unless --mean and --std are given: what came with the weights, which is not doubted."""
    shortcut: str | None = None
    """Where its shortcuts start, raw or preact, if its weights go with both."""

    @property
    def model(self) -> nn.Module:
        """The network behind its normalisation."""
        return behind(self.scale, self.network)


def behind(scale: Normalize | None, network: nn.Module) -> nn.Module:
    """Return a network behind a normalisation, or alone."""
    return nn.Sequential(scale, network) if scale else network


def find_hint(reading: Reading, test: ImageSet, dataset: str) -> str | None:
    """Return what to try where a model classifies few of the first test images, or more if it is read otherwise.

    None where nothing is to be said.
    """
    model = reading.model
    images = TestImages.of(*test.slice(0, IMAGES).tensors(), model)
    x, y = images.batch(slice(None))
    readings = other_readings(reading, x, dataset)
    with frozen(model, *readings.values()):
        right, finite = answered(model, x, y)
        others = {how: correct(each, images) for how, each in readings.items()}
    if not finite.all():
        return None  # which a red flag says
    sa = f"SA is {100 * right.float().mean().item():.1f} % on the first {len(y)} images"
    best = max(others, key=lambda how: int(others[how].sum()), default="")
    if best and better(others[best], right):
        return f"{sa}, and {100 * others[best].float().mean().item():.1f} % {best}: try that, if it was trained so"
    if len(y) >= FEWEST and wilson(int(right.sum()), len(y))[0] <= int(y.bincount().max()) / len(y):
        return f"{sa}, no better than one class for all; check what is assumed of it, and the order of its classes"
    return None


def better(other: Tensor, right: Tensor) -> bool:
    """Return whether of the same images more are in `other` than in `right`, beyond doubt."""
    gain, low, _ = difference(int((other & ~right).sum()), int((right & ~other).sum()), len(right))
    return low > 0 and gain >= LEAST_GAIN


def other_readings(reading: Reading, x: Tensor, dataset: str) -> dict[str, nn.Module]:
    """Return the other readings of a model of images x, by the change of the command that asks for them."""
    networks, scales = {"": reading.network}, {"": reading.scale}
    if reading.shortcut:
        networks[f"--shortcut {'preact' if reading.shortcut == 'raw' else 'raw'}"] = other_shortcut(reading.network)
    scales |= {flags(scale): scale for scale in other_scales(reading, x, dataset)}
    found = {
        change(front, shortcut): behind(scale, network)
        for front, scale in scales.items()
        for shortcut, network in networks.items()
    }
    return {how: each for how, each in found.items() if how}


def change(front: str, shortcut: str) -> str:
    """Return in words what to change in a command: its `flags` of the normalisation, --shortcut, or both."""
    asked = " ".join(flag for flag in (front, shortcut) if flag.startswith("--"))
    left_out = front if front and not front.startswith("--") else ""
    return " and ".join(filter(None, (f"with {asked}" if asked else "", left_out)))


def flags(scale: Normalize | None) -> str:
    """Return how a command asks for a normalisation, or for none."""
    if scale is None:
        return "without --mean and --std"
    return " ".join(f"--{name} {listed(getattr(scale, name).flatten().tolist())}" for name in ("mean", "std"))


def other_scales(reading: Reading, x: Tensor, dataset: str) -> list[Normalize | None]:
    """Return what else may stand in front of a model: its own, the data set's, or what takes images x to [-1, 1]."""
    if reading.own and reading.scale is reading.own:
        return []
    usual = [Normalize(mean, std) for mean, std in normalisations(dataset, x)]
    others = [scale for scale in (reading.own, *usual) if flags(scale) != flags(reading.scale)]
    return [scale.to(x.device) if scale else None for scale in others]


def other_shortcut(model: nn.Module) -> nn.Module:
    """Return a copy of a PreActResNet whose shortcuts start from the other place."""
    copy = deepcopy(model)
    for module in copy.modules():
        if isinstance(module, PreActBlock):
            module.raw = not module.raw
    return copy


def normalisations(dataset: str, x: Tensor) -> list[tuple[Sequence[float], Sequence[float]]]:
    """Return means and standard deviations that may stand in front: the data set's, or of the images x, and halves."""
    card, half = dataset_card(dataset), x.shape[1] * (HALF,)
    known = card.mean and card.std and len(card.mean) == x.shape[1]
    own = (card.mean, card.std) if known else mean_and_std((255 * x).round().to(torch.uint8))
    return [own, (half, half)]  # type: ignore[list-item]
