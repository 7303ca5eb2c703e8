"""What was assumed of a model of others, tried: a normalisation in front, the other shortcut.

A state_dict says neither, and the wrong one costs accuracy without a word.
"""

from collections.abc import Sequence
from copy import deepcopy

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
NO_NORMALISATION, SHORTCUT = "no normalisation", "shortcut "


def find_hint(model: nn.Module, test: ImageSet, dataset: str, assumed: Sequence[str]) -> str | None:
    """Return what to try where `model` classifies few of the first test images, or more if it is read otherwise.

    `assumed` is what nobody said of it: no normalisation, shortcut raw or preact. None where nothing is to be said.
    """
    images = TestImages.of(*test.slice(0, IMAGES).tensors(), model)
    x, y = images.batch(slice(None))
    readings = other_readings(model, x, dataset, assumed)
    with frozen(model, *readings.values()):
        right, finite = answered(model, x, y)
        others = {flags: correct(each, images) for flags, each in readings.items()}
    if not finite.all():
        return None  # which a red flag says
    sa = f"SA is {100 * right.float().mean().item():.1f} % on the first {len(y)} images"
    best = max(others, key=lambda flags: int(others[flags].sum()), default="")
    if best and better(others[best], right):
        return (
            f"{sa}, and {100 * others[best].float().mean().item():.1f} % with {best}: try these, if it was trained so"
        )
    if len(y) >= FEWEST and wilson(int(right.sum()), len(y))[0] <= int(y.bincount().max()) / len(y):
        return f"{sa}, no better than one class for all; check what is assumed of it, and the order of its classes"
    return None


def better(other: Tensor, right: Tensor) -> bool:
    """Return whether of the same images more are in `other` than in `right`, beyond doubt."""
    gain, low, _ = difference(int((other & ~right).sum()), int((right & ~other).sum()), len(right))
    return low > 0 and gain >= LEAST_GAIN


def other_readings(model: nn.Module, x: Tensor, dataset: str, assumed: Sequence[str]) -> dict[str, nn.Module]:
    """Return the other readings of a model of images x, by the flags that ask for them."""
    readings = {"": model}
    for word in assumed:
        if word.startswith(SHORTCUT):
            readings[f"--shortcut {'preact' if word.endswith('raw') else 'raw'}"] = other_shortcut(model)
    for mean, std in normalisations(dataset, x) if NO_NORMALISATION in assumed else ():
        flags, front = f"--mean {listed(mean)} --std {listed(std)}", Normalize(mean, std).to(x.device)
        bare = {more: each for more, each in readings.items() if "--mean" not in more}
        readings |= {f"{flags} {more}".strip(): nn.Sequential(front, each) for more, each in bare.items()}
    return {flags: each for flags, each in readings.items() if flags}


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
