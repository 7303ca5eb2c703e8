"""The data sets by name: where their images come from, and how they are trained on."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from fastbat.errors import InputError, choose

ANY_HUB = "owner/name"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Phase:
    """The epochs of one image size, in a training with progressive sizes."""

    until: float  # the share of all epochs after which it ends
    resize: int | None  # pixels of the shorter side before the crop; None: as stored
    crop: int  # side of the images trained on, pixels
    batch: float  # images a step, in batch sizes


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
    classes: int | None = None  # how many it has, and the side of its images in pixels; None: not known beforehand
    published_classes: int | None = None  # of all of it, where a part is taken, too
    size: int | None = None


DATASETS = {
    "digits": DatasetCard(
        "scikit-learn, embedded: 1,797 grey 8x8 images, 10 classes",
        model="cnn", mean=(0.305,), std=(0.376,), pad=0, flip=False, max_lr=0.1,
    ),
    "cifar10": DatasetCard(
        "hub uoft-cs/cifar10, or --data-dir: 60,000 colour 32x32 images, 10 classes", "uoft-cs/cifar10",
        mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616), pad=4, mixed=False, classes=10, size=32,
    ),
    "cifar100": DatasetCard(
        "hub uoft-cs/cifar100, or --data-dir: 60,000 colour 32x32 images, 100 classes; rotated", "uoft-cs/cifar100",
        mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762), pad=4, rotation=15.0, mixed=False,
        classes=100, size=32,
    ),
    # mean, std and pad as in FAST-BAT's released code
    "tiny-imagenet": DatasetCard(
        "hub zh-plus/tiny-imagenet, or --data-dir: 110,000 colour 64x64 images, 200 classes", "zh-plus/tiny-imagenet",
        mean=IMAGENET_MEAN, std=IMAGENET_STD, pad=4, tests=("valid", "val", "validation"), size=64,
        published_classes=200,
    ),
    # FAST-AT's published recipe (Wong et al., 2020): 15 epochs in three phases, with batches of 512, 224 and 128
    # images; weight decay of 1e-4, and none on BatchNorm's weights
    "imagenet": DatasetCard(
        "--data-dir, or hub ILSVRC/imagenet-1k: 1,331,167 photographs, 1,000 classes; streamed", "ILSVRC/imagenet-1k",
        mean=IMAGENET_MEAN, std=IMAGENET_STD, pad=0, model="resnet50", tests=("val", "validation"), max_lr=0.4,
        epochs=15, weight_decay=1e-4, decay_batchnorm=False,
        rates=((0, 0), (1 / 15, 1), (6 / 15, 0.1), (12 / 15, 0.01), (1, 0.001)),
        phases=(Phase(6 / 15, 160, 128, 4), Phase(12 / 15, 352, 224, 1.75), Phase(1, None, 288, 1)),
        published_classes=1_000,
    ),
    "folder": DatasetCard("--data-dir: train/CLASS/*.jpg and test/CLASS/*.jpg, or other image files"),
    "parquet": DatasetCard("--data-dir: train*.parquet and test*.parquet with an image and a label column"),
    ANY_HUB: DatasetCard("any data set of labelled images of the hub, by its name there", ANY_HUB),
}  # fmt: skip


def dataset_card(name: str) -> DatasetCard:
    """Return the card of the data set `name`: one of DATASETS, or OWNER/NAME on the hub."""
    if name in DATASETS and name != ANY_HUB:
        return DATASETS[name]
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        return replace(DATASETS[ANY_HUB], hub=name)
    if "/" in name or Path(name).exists():
        what = "lies on this disk" if Path(name).exists() else "is no OWNER/NAME of the hub"
        raise InputError(
            f"data set {name!r} {what}; a folder is read with --dataset folder (or parquet) --data-dir DIR"
        )
    return DATASETS[choose("data set", name, DATASETS)]
