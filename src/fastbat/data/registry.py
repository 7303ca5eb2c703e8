"""The data sets by name, and loading them. `digits` is embedded; the others are on the hub, or in a folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fastbat.data.cache import cached
from fastbat.data.digits import load_digits
from fastbat.data.encoded import Encoded, Source, on_disk, on_hub
from fastbat.data.images import Images, mean_and_std
from fastbat.data.stream import ImageSet, Phase, Stream
from fastbat.errors import InputError, choose

ANY_HUB = "owner/name"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DatasetCard:
    """What the trainer needs to know of a data set beside its images; `load` fills in what it finds."""

    source: str  # where the images come from, for people
    hub: str | None = None  # its name on the Hugging Face hub
    model: str = "preactresnet18"  # the model it is trained with unless another is named
    mean: tuple[float, ...] | None = None  # per channel, of the training images in [0, 1]; None: whatever the user has
    std: tuple[float, ...] | None = None
    pad: int | None = None  # random crop after padding by this much; None: an eighth of the size
    flip: bool = True  # random horizontal flip
    rotation: float = 0.0  # random rotation after crop and flip, by up to this many degrees either way
    max_lr: float = 0.2  # peak learning rate, epochs, weight decay, and whether it is BatchNorm's, too: unless set
    epochs: int = 20
    weight_decay: float = 5e-4
    decay_batchnorm: bool | None = None  # None: yes
    tests: tuple[str, ...] = ("test", "val", "valid", "validation")  # names of the test split; the first there is
    mixed: bool = True  # put into one fixed random order, for the one on disk may follow the classes
    rates: tuple[tuple[float, float], ...] = ()  # (share of all epochs, share of max_lr); empty: up and down again
    phases: tuple[Phase, ...] = ()  # of a streamed data set


DATASETS = {
    "digits": DatasetCard(
        "scikit-learn, embedded: 1,797 grey 8x8 images, 10 classes",
        model="cnn", mean=(0.305,), std=(0.376,), pad=0, flip=False, max_lr=0.1,
    ),
    "cifar10": DatasetCard(
        "hub uoft-cs/cifar10, or --data-dir: 60,000 colour 32x32 images, 10 classes", "uoft-cs/cifar10",
        mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616), pad=4, mixed=False,
    ),
    "cifar100": DatasetCard(
        "hub uoft-cs/cifar100, or --data-dir: 60,000 colour 32x32 images, 100 classes; rotated", "uoft-cs/cifar100",
        mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762), pad=4, rotation=15.0, mixed=False,
    ),
    # mean, std and pad as in FAST-BAT's released code
    "tiny-imagenet": DatasetCard(
        "hub zh-plus/tiny-imagenet, or --data-dir: 110,000 colour 64x64 images, 200 classes", "zh-plus/tiny-imagenet",
        mean=IMAGENET_MEAN, std=IMAGENET_STD, pad=4, tests=("valid", "val", "validation"),
    ),
    # FAST-AT's published recipe (Wong et al., 2020): 15 epochs in three phases, with batches of 512, 224 and 128
    # images; weight decay of 1e-4, and none on BatchNorm's weights
    "imagenet": DatasetCard(
        "--data-dir, or hub ILSVRC/imagenet-1k: 1,331,167 photographs, 1,000 classes; streamed", "ILSVRC/imagenet-1k",
        mean=IMAGENET_MEAN, std=IMAGENET_STD, pad=0, model="resnet50", tests=("val", "validation"), max_lr=0.4,
        epochs=15, weight_decay=1e-4, decay_batchnorm=False,
        rates=((0, 0), (1 / 15, 1), (6 / 15, 0.1), (12 / 15, 0.01), (1, 0.001)),
        phases=(Phase(6 / 15, 160, 128, 4), Phase(12 / 15, 352, 224, 1.75), Phase(1, None, 288, 1)),
    ),
    "folder": DatasetCard("--data-dir: train/CLASS/*.jpg and test/CLASS/*.jpg, or other image files"),
    "parquet": DatasetCard("--data-dir: train*.parquet and test*.parquet with an image and a label column"),
    ANY_HUB: DatasetCard("any data set of labelled images of the hub, by its name there", ANY_HUB),
}  # fmt: skip


@dataclass(frozen=True)
class Splits:
    """A data set, cut: the last 10 % of the training images are the validation images, or half of the test images."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    card: DatasetCard  # filled in


def dataset_card(name: str) -> DatasetCard:
    """Return the card of the data set `name`: one of DATASETS, or OWNER/NAME on the hub."""
    if "/" in name:
        return replace(DATASETS[ANY_HUB], hub=name)
    return DATASETS[choose("data set", name, DATASETS)]


def load(
    name: str,
    data_dir: Path | str | None = None,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    image_size: int | None = None,
    workers: int = 0,
    validation: str | None = None,
    **augmentation: Any,
) -> Splits:
    """Return the data set `name`, cut into train, validation and test, and its card filled in.

    With `data_dir` its files are read and nothing is downloaded. `image_size` resizes the shorter side to so many
    pixels and cuts out the middle; with `validation` "test" the first half of each class of the test images is for
    validation, and no training image; `augmentation` are pad, flip and rotation, where they are not to be the card's. A
    user's own data set without a test split gives up its last tenth for one. Raises InputError where the images are
    not to be had or do not fit each other, with what was looked for.
    """
    card, data_dir = dataset_card(name), None if data_dir is None else Path(data_dir)
    card = replace(card, **{what: value for what, value in augmentation.items() if value is not None})
    own = {"data_dir": data_dir, "image_column": image_column, "label_column": label_column, "image_size": image_size}
    _refuse(name, own if name == "digits" else {"image_size": image_size, "pad": card.pad, "rotation": card.rotation})
    if name == "digits":
        splits: tuple[ImageSet, ...] = load_digits()
    else:
        found = _found(name, card, data_dir)
        if found[0] is None or (found[1] is None and card.mean):
            raise _missing(name, card, data_dir, card.tests[0] if found[0] else "train")
        sources = filter(None, found)
        splits = tuple(_images(source, card, image_column, label_column, image_size, workers) for source in sources)
    train, test = _agreed(name, *(splits if len(splits) == 2 else _tenth_off(*splits)))
    train, held, test = (train, *_halves(name, test)) if validation == "test" else (*_tenth_off(train), test)
    if isinstance(train, Images):
        mean, std = (card.mean, card.std) if card.mean else mean_and_std(train.pixels)
        pad = min(train.pixels.shape[2:]) // 8 if card.pad is None else card.pad
        card = replace(card, mean=mean, std=std, pad=pad)
    return Splits(train, held, test, card)


def load_test(name: str, data_dir: Path | None = None, *, validation: str | None = None, **how: Any) -> ImageSet:
    """Return the test images of the data set `name`, as `load` does with `how`; the training images need not be there.

    Without a test split they are the last tenth of the training images.
    """
    card = dataset_card(name)
    test = None if name == "digits" else _found(name, card, data_dir)[1]
    if test is None:
        return load(name, data_dir, validation=validation, **how).test
    _refuse(name, {"image_size": how.get("image_size")})
    images = _images(test, card, **how)
    images = replace(images, classes=images.classes or tuple(map(str, range(int(images.labels.max()) + 1))))
    return _halves(name, images)[1] if validation == "test" else images


def _refuse(name: str, settings: Mapping[str, Any]) -> None:
    """Raise InputError where an embedded or a streamed data set is given settings that it does not take."""
    card = DATASETS.get(name)
    for what, value in settings.items():
        if value and card and (name == "digits" or card.phases):
            how = "streamed" if card.phases else "embedded"
            raise InputError(f"{what} is {str(value)!r}, but {name} is {how}; leave it out")


def _found(name: str, card: DatasetCard, data_dir: Path | None) -> tuple[Source | None, Source | None]:
    """Return the training split and the test split, None for one that is not there."""
    find: Callable[[str], Source | None]
    if data_dir is not None:
        find = partial(on_disk, data_dir, name if card.mean else None, card.mixed)
    elif card.hub is not None:
        find = on_hub(card.hub, card.mixed).get
    else:
        raise InputError(f"{name} is read from a folder of yours; name it with --data-dir")
    return find("train"), next(filter(None, map(find, card.tests)), None)


def _missing(name: str, card: DatasetCard, data_dir: Path | None, split: str) -> InputError:
    files = f"{name}-{split}*.parquet" if card.mean else f"{split}*.parquet"
    hint = ", or leave data_dir out to download it" if card.hub and data_dir else ""
    where = str(data_dir or card.hub)
    return InputError(f"no {files} and no {split}/CLASS/*.jpg in {where!r}; put the data set's files there{hint}")


def _images(
    source: Source,
    card: DatasetCard,
    image_column: str | None = None,
    label_column: str | None = None,
    image_size: int | None = None,
    workers: int = 0,
) -> ImageSet:
    encoded = Encoded.of(source, image_column, label_column)
    if card.phases:
        labels, names = torch.from_numpy(encoded.labels), encoded.classes
        return Stream(encoded, labels, names, source.key(contents=False), workers)
    about = (source.key(contents=True), image_column, label_column, image_size)
    return cached("-".join(str(part) for part in about if part), encoded, image_size)


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
