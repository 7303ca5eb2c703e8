"""What was assumed of a model of others, tried: the normalisation of the data set in front, the other shortcut.

A state_dict says neither, and the wrong one costs accuracy without a word.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from fastbat.audit.normalisation import listed
from fastbat.data import ImageSet, dataset_card
from fastbat.data.images import mean_and_std
from fastbat.evaluation import correct, frozen
from fastbat.evaluation.check import first_device
from fastbat.evaluation.interval import difference
from fastbat.models import Normalize
from fastbat.models.preact_resnet import PreActBlock

IMAGES = 200
LEAST_GAIN = 2  # points
NO_NORMALISATION, SHORTCUT = "no normalisation", "shortcut "


def better_reading(model: nn.Module, test: ImageSet, dataset: str, assumed: Sequence[str]) -> str | None:
    """Return what to try where another reading of `model` classifies more of the first test images, beyond doubt.

    `assumed` is what nobody said of it: no normalisation, shortcut raw or preact.
    """
    if not assumed:
        return None
    x, y = test.slice(0, IMAGES).tensors()
    readings = other_readings(model, x, dataset, assumed)
    with frozen(model, *readings.values()):
        as_read, right = correct(model, x, y), {flags: correct(each, x, y) for flags, each in readings.items()}
    best = max(right, key=lambda flags: int(right[flags].sum()), default="")
    if not best:
        return None
    gain, low, _ = difference(int((right[best] & ~as_read).sum()), int((as_read & ~right[best]).sum()), len(y))
    if low <= 0 or gain < LEAST_GAIN:
        return None
    before, after = (f"{100 * mask.float().mean().item():.1f} %" for mask in (as_read, right[best]))
    return f"SA is {before} on the first {len(y)} images, and {after} with {best}: try these, if it was trained so"


def other_readings(model: nn.Module, x: Tensor, dataset: str, assumed: Sequence[str]) -> dict[str, nn.Module]:
    """Return the other readings of a model of images x, by the flags that ask for them."""
    readings, place = {"": model}, first_device(model, x)
    for word in assumed:
        if word.startswith(SHORTCUT):
            readings[f"--shortcut {'preact' if word.endswith('raw') else 'raw'}"] = other_shortcut(model)
    if NO_NORMALISATION in assumed:
        mean, std = normalisation_of(dataset, x)
        flags, front = f"--mean {listed(mean)} --std {listed(std)}", Normalize(mean, std).to(place)
        readings |= {f"{flags} {more}".strip(): nn.Sequential(front, each) for more, each in readings.items()}
    return {flags: each for flags, each in readings.items() if flags}


def other_shortcut(model: nn.Module) -> nn.Module:
    """Return a copy of a PreActResNet whose shortcuts start from the other place."""
    copy = deepcopy(model)
    for module in copy.modules():
        if isinstance(module, PreActBlock):
            module.raw = not module.raw
    return copy


def normalisation_of(dataset: str, x: Tensor) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and standard deviation of a data set, those of the images x where it is not a known one."""
    card = dataset_card(dataset)
    if card.mean and card.std and len(card.mean) == x.shape[1]:
        return card.mean, card.std
    return mean_and_std((255 * x).round().to(torch.uint8))
