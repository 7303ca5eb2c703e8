"""Images that are not what they are taken for: refused where that is certain, said where it is likely."""

from collections.abc import Sequence

import torch

from fastbat.data.cards import DatasetCard
from fastbat.data.images import Images, unit
from fastbat.data.stream import ImageSet
from fastbat.errors import InputError
from fastbat.progress import say

PART = 1000  # images looked at between two chances to stop
DARK = 32  # levels of 255
SAMPLE, OFF, SIGMAS = 2000, 0.02, 6  # a mean over so many images may be off by so much, and so many standard errors


def check_published(name: str, card: DatasetCard, images: Images) -> None:
    """Raise InputError where the images have another size, or other classes, than those of the data set `name`.

    Say so where their mean is far from the published one.
    """
    named, (height, width) = len(images.classes), images.pixels.shape[2:]
    count = named or int(images.labels.max()) + 1
    if card.classes is not None and (count > card.classes or 0 < named < card.classes):
        raise _not(name, f"{count} classes, not {card.classes}")
    if card.size is not None and (height, width) != (card.size, card.size):
        raise _not(name, f"{width} x {height} pixels, not {card.size} x {card.size}")
    if card.mean is None or len(card.mean) != images.channels or card.size is None:
        return
    means = unit(images.pixels[:: max(1, len(images) // SAMPLE)]).mean((2, 3)).double()
    error = means.std(0).nan_to_num() / len(means) ** 0.5
    mean, published = means.mean(0), torch.tensor(card.mean, dtype=torch.float64)
    if ((mean - published).abs() > OFF + SIGMAS * error).any():
        ours, theirs = (", ".join(f"{value:.3f}" for value in each) for each in (mean, published))
        say(f"these may not be the images of {name}: their mean is {ours} per channel, published is {theirs}")


def _not(name: str, what: str) -> InputError:
    return InputError(
        f"the images have {what}: this is not {name}; name what it is, such as --dataset folder or parquet"
    )


def check_several(name: str, images: ImageSet) -> None:
    """Raise InputError where all images are of one class."""
    if len(seen := images.labels.unique()) < 2:
        one = images.classes[int(seen[0])] if images.classes else int(seen[0])
        raise InputError(f"all training images of {name} are of one class, {one!r}; give it at least two")


def check_not_blank(images: ImageSet, what: str) -> None:
    """Raise InputError where all pixels have one value: what was in them was lost, or never there."""
    if not isinstance(images, Images) or not len(images):
        return
    value = images.pixels[0, :, :1, :1]
    if all(bool((part == value).all()) for part in images.pixels.split(PART)):
        levels = ", ".join(map(str, value.flatten().tolist()))
        raise InputError(f"every pixel of the {len(images)} {what} is {levels} of 255; look at the picture files")


def say_grey(images: Images) -> None:
    """Say where colour images are grey all over."""
    parts = images.pixels.split(PART) if images.channels == 3 else ()
    if parts and all(bool((part == part[:, :1]).all()) for part in parts):
        say("all images are grey, read as RGB; --channels 1 reads one channel")


def say_dark(images: Images) -> None:
    """Say where no pixel is bright: 8 or 12 bits in files of 16 come out so."""
    parts = images.pixels.split(PART)
    if all(int(part.max()) < DARK for part in parts):
        brightest = max(int(part.max()) for part in parts)
        say(f"no pixel is brighter than {brightest} of 255; do the picture files use all bits they have?")


def say_order(classes: Sequence[str]) -> None:
    """Say where classes that are called by numbers are not numbered by them."""
    if list(classes) == sorted(classes) and all(name.isdecimal() for name in classes):
        numbers = sorted(classes, key=int)
        for i, (name, number) in enumerate(zip(classes, numbers, strict=True)):
            if name != number:
                say(f"the classes are numbered in the order of their names as text: {name!r} is class {i}")
                return
