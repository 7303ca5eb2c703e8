"""Loading a data set by its name: found, checked, and cut into train, validation and test."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fastbat.data.cache import cached, indexed
from fastbat.data.cards import DatasetCard, dataset_card
from fastbat.data.check import check_published, check_several, say_dark, say_grey, say_order
from fastbat.data.columns import Source
from fastbat.data.digits import load_digits
from fastbat.data.encoded import Encoded
from fastbat.data.find import finder, found, tests_of
from fastbat.data.images import Images, mean_and_std
from fastbat.data.source import check_source
from fastbat.data.stream import ImageSet, Stream
from fastbat.errors import InputError
from fastbat.files import as_path

MOST_CLASSES = 100_000
LUMA = (0.299, 0.587, 0.114)  # of R, G and B in grey


@dataclass(frozen=True)
class Splits:
    """A data set, cut: the last 10 % of the training images are the validation images, or half of the test images."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    card: DatasetCard  # filled in


def load(
    name: str,
    data_dir: Path | str | None = None,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    workers: int = 0,
    validation: str | None = None,
    **augmentation: Any,
) -> Splits:
    """Return the data set `name`, cut into train, validation and test, and its card filled in.

    With `data_dir` its files are read and nothing is downloaded. `image_size` resizes the shorter side to so many
    pixels and cuts out the middle; `channels` is 3 (RGB, unless given) or 1 (grey); with `validation` "test" the first
    half of each class of the test images is for validation, and no training image; `augmentation` are pad, flip and
    rotation, where they are not to be the card's. A user's own data set without a test split gives up its last tenth
    for one. Raises InputError where the images are not to be had or do not fit each other, with what was looked for.
    """
    card, data_dir = dataset_card(name), None if data_dir is None else as_path("data_dir", data_dir)
    card = replace(card, **{what: value for what, value in augmentation.items() if value is not None})
    how: dict[str, Any] = {
        "image_column": image_column,
        "label_column": label_column,
        "image_size": image_size,
        "channels": channels,
    }
    check_source(name, data_dir, **how, **augmentation)
    if name == "digits":
        splits: tuple[ImageSet, ...] = load_digits()
    else:
        splits = tuple(_images(source, card, workers=workers, **how) for source in found(name, card, data_dir))
    train, test = _agreed(name, *(splits if len(splits) == 2 else _tenth_off(*splits)))
    check_several(name, train)
    _look_at(name, card, train, image_size, channels)
    train, held, test = (train, *_halves(name, test)) if validation == "test" else (*_tenth_off(train), test)
    return Splits(train, held, test, _filled(card, train))


def load_test(name: str, data_dir: Path | str | None = None, *, validation: str | None = None, **how: Any) -> ImageSet:
    """Return the test images of the data set `name`, as `load` does with `how`; the training images need not be there.

    Without a test split they are the last tenth of the training images.
    """
    card, data_dir = dataset_card(name), None if data_dir is None else as_path("data_dir", data_dir)
    check_source(name, data_dir, **how)
    test = None if name == "digits" else tests_of(card, finder(name, card, data_dir))
    if test is None:
        return load(name, data_dir, validation=validation, **how).test
    images = _images(test, card, **how)
    _look_at(name, card, images, how.get("image_size"), how.get("channels"))
    low, high = int(images.labels.min()), int(images.labels.max())
    if images.classes and not 0 <= low <= high < len(images.classes):
        raise InputError(
            f"{name} has test labels {low}..{high} for {len(images.classes)} classes; number them from 0 on"
        )
    if low < 0 or high >= MOST_CLASSES:
        raise InputError(f"{name} has test labels {low}..{high}; number the classes from 0 on")
    images = replace(images, classes=images.classes or tuple(map(str, range(int(images.labels.max()) + 1))))
    return _halves(name, images)[1] if validation == "test" else images


def _images(
    source: Source,
    card: DatasetCard,
    image_column: str | None = None,
    label_column: str | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    workers: int = 0,
) -> ImageSet:
    encoded = Encoded.of(source, image_column, label_column, channels or 3)
    if card.phases:
        labels, names = torch.from_numpy(encoded.labels), encoded.classes
        return Stream(indexed(encoded), labels, names, source.key(contents=False), workers)
    return cached(
        (source.key(contents=True), image_column, label_column, image_size, encoded.channels), encoded, image_size
    )


def _look_at(name: str, card: DatasetCard, images: ImageSet, image_size: int | None, channels: int | None) -> None:
    """Check what the images of `name` look like against what is known of it, and say what may surprise."""
    say_order(images.classes)
    if isinstance(images, Images) and name != "digits":
        check_published(name, replace(card, size=None) if image_size else card, images)
        say_dark(images)
        if channels is None:
            say_grey(images)


def _filled(card: DatasetCard, train: ImageSet) -> DatasetCard:
    """Return the card with padding, mean and standard deviation: published ones, else those of the training images."""
    if isinstance(train, Images):
        pad = min(train.pixels.shape[2:]) // 8 if card.pad is None else card.pad
        known = card.mean and len(card.mean) == train.channels
        mean, std = (card.mean, card.std) if known else mean_and_std(train.pixels)
        return replace(card, pad=pad, mean=mean, std=std)
    if train.channels == 1 and card.mean and card.std:  # unknown in grey before all are decoded: near enough
        mean = (round(sum(weight * level for weight, level in zip(LUMA, card.mean, strict=True)), 4),)
        return replace(card, mean=mean, std=(round(sum(card.std) / 3, 4),))
    return card


def _tenth_off(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Cut the last tenth off, rounded down."""
    cut = len(images) - len(images) // 10
    if cut == len(images):
        raise InputError(f"{len(images)} images are too few to set a tenth of them aside; give at least 20")
    return images.slice(0, cut), images.slice(cut, None)


def _halves(name: str, images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Return the first half of each class's images, rounded up, and the rest, both in their order."""
    if not isinstance(images, Images):
        raise InputError(f"validation is test, but {name} is streamed; leave it out")
    same = images.labels[:, None] == images.labels.unique()
    rank, count = (same.cumsum(0) * same).sum(1), (same.sum(0) * same).sum(1)
    first = 2 * rank <= count + 1
    return images.take(first), images.take(~first)


def _classes(images: ImageSet) -> tuple[str, ...]:
    """Return the names of the classes; numbers where they have none."""
    return images.classes or tuple(str(label) for label in range(len(images.labels.unique())))


def _agreed(name: str, train: ImageSet, test: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Return both with the same class names; raise InputError unless labels and sizes fit."""
    classes = _classes(train)
    for part, of in ((train, "training"), (test, "test")):
        low, high = int(part.labels.min()), int(part.labels.max())
        if low < 0 or high >= len(classes):
            raise InputError(f"{name} has {of} labels {low}..{high} for {len(classes)} classes; number them from 0 on")
        if part.classes not in ((), classes):
            raise InputError(f"training and test images of {name} have other class names; give them the same")
    if isinstance(train, Images) and isinstance(test, Images) and train.pixels.shape[1:] != test.pixels.shape[1:]:
        (_, *size), (_, *other) = train.pixels.shape[1:], test.pixels.shape[1:]
        raise InputError(f"training images are {size}, test images {other}; give both one size: --image-size 64")
    return replace(train, classes=classes), replace(test, classes=classes)
