"""The data sets by name. `digits` is embedded; the others come from the Hugging Face hub or a local folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastbat.data.digits import load_digits
from fastbat.data.hub import load_hub
from fastbat.data.images import Images, Splits, split
from fastbat.errors import InputError, choose


@dataclass(frozen=True)
class DatasetCard:
    """What the trainer needs to know of a data set beside its images."""

    source: str  # where the images come from, for people
    load: Callable[[Path | None], tuple[Images, Images]]  # data_dir -> train, test
    model: str  # the model it is trained with unless another is named
    mean: tuple[float, ...]  # per channel, of the training images in [0, 1]
    std: tuple[float, ...]
    pad: int  # random crop after padding by this much
    flip: bool  # random horizontal flip
    max_lr: float  # peak learning rate, unless another is set


DATASETS = {
    "digits": DatasetCard(
        source="scikit-learn, embedded: 1,797 grey 8x8 images, 10 classes",
        load=load_digits,
        model="cnn",
        mean=(0.305,),
        std=(0.376,),
        pad=0,
        flip=False,
        max_lr=0.1,
    ),
    "cifar10": DatasetCard(
        source="hub uoft-cs/cifar10, or --data-dir: 60,000 colour 32x32 images, 10 classes",
        load=load_hub("cifar10", "uoft-cs/cifar10", image="img", label="label"),
        model="preactresnet18",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        pad=4,
        flip=True,
        max_lr=0.2,
    ),
}


def load(name: str, data_dir: Path | None = None) -> Splits:
    """Return the data set `name` of DATASETS, cut into train, validation and test.

    With `data_dir` its parquet files are read and nothing is downloaded. Raises InputError where the images are
    not to be had, with what was looked for.
    """
    card = DATASETS[choose("data set", name, DATASETS)]
    train, test = card.load(data_dir)
    if train.pixels.shape[1] != len(card.mean):
        raise InputError(f"{name} has images of {train.pixels.shape[1]} channels, expected {len(card.mean)}")
    return split(train, test)
