"""What data cost: a batch in memory over a step, an epoch over its images, a stream over its workers.

    python experiments/data-speed/measure.py batch      # a cropped and flipped batch, against the step that it feeds
    python experiments/data-speed/measure.py epoch      # an epoch of 2,048 to 16,384 images
    python experiments/data-speed/measure.py workers    # images/s of the decoder, from JPEGs of 500 x 375 pixels

Random images; PreActResNet-18 of width 16, batches of 128. The arms are interleaved, after one round to warm up.
Printed are medians, quartiles and ratios. Nothing else should run.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from fastbat.data import DATASETS, Images, Loader, Splits, load
from fastbat.data.stream import CORES
from fastbat.methods import METHODS, FastBAT, Method
from fastbat.training import Run, Settings
from fastbat.training.checkpoints import Checkpoints
from fastbat.training.epoch import train_epoch, update
from fastbat.training.prepare import build
from fastbat.training.signals import Signals
from fastbat.training.state import PartialEpoch, State
from fastbat.training.task import Task

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from machine import figures, interleaved, parser, publish, ratio

CARD = DATASETS["cifar10"]
WIDTH, BATCH, CLASSES = 16, 128, 10
JPEGS, JPEG_SIZE = 512, (500, 375)


def main() -> None:
    """Time one kind of arms and print what they took."""
    flags = parser(__doc__, rounds=5)
    flags.add_argument("what", choices=ARMS)
    args = flags.parse_args()
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        arms, base = ARMS[args.what](Path(folder), args.device)
        seconds = interleaved({name: run for name, (_, run) in arms.items()}, args.rounds, args.device)
    rows = [row(name, arms[name][0], seconds, base) for name in arms]
    publish(args.what, rows, args.out, what=args.what, rounds=args.rounds, device=str(args.device))


Arms = tuple[dict[str, tuple[int, Callable[[], object]]], str]  # images and what runs, by name; the arm to compare with


def batch(folder: Path, device: torch.device) -> Arms:
    """Return drawing a batch from memory, cropped and flipped, and the cheapest and the best steps that it feeds."""
    batches = cycle(Loader(random_images(50_000).to(device), BATCH, 0, CARD.pad or 0, CARD.flip).epoch(0))
    arms: dict[str, tuple[int, Callable[[], object]]] = {"a batch": (BATCH, lambda: next(batches))}
    methods = {"standard": METHODS["standard"](eps=0), "fast-at": METHODS["fast-at"](eps=8 / 255)}
    methods["fast-bat, none"] = FastBAT(8 / 255, ig_mode="none")
    for name, method in methods.items():
        one, how = partial(update, *prepared(method, BATCH, device)), next(batches)
        arms[name] = (BATCH, partial(one, how, 0))
    return arms, "standard"


def epoch(folder: Path, device: torch.device) -> Arms:
    """Return epochs of more and more images."""
    method = FastBAT(8 / 255, ig_mode="none")
    sizes = (2_048, 4_096, 8_192, 16_384)
    epochs = {n: partial(one_epoch, Run(folder), *prepared(method, n, device)) for n in sizes}
    return {f"{n} images": (n, epochs[n]) for n in sizes}, f"{sizes[0]} images"


def one_epoch(run: Run, task: Task, state: State) -> None:
    """Run the first epoch, whatever ran before."""
    state.partial = PartialEpoch()
    train_epoch(task, state, Checkpoints(run, task, state, Signals()))


def workers(folder: Path, device: torch.device) -> Arms:
    """Return decoding an epoch of JPEGs in each of ImageNet's phases, in this process and in others."""
    for i in range(JPEGS):
        (place := folder / "data" / ("train" if i else "val") / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (24, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize(JPEG_SIZE, Image.Resampling.BICUBIC).save(place / f"{i}.jpg", quality=90)
    (folder / "data" / "val" / "class1").mkdir()
    Image.fromarray(pixels).save(folder / "data" / "val" / "class1" / "0.jpg")
    arms: dict[str, tuple[int, Callable[[], object]]] = {}
    for number in (0, *(n for n in (1, 2, 4, 8, 16) if n <= CORES)):  # no more are started
        splits = load("imagenet", folder / "data", workers=number)
        for phase in splits.card.phases:
            made = Loader(splits.train, 64, 0, 0, True, 0.0, (replace(phase, until=1, batch=1),), 1)
            name = f"{number} workers, {phase.resize or 'stored'} -> {phase.crop}"
            arms[name] = (len(splits.train), lambda made=made: [None for _ in made.epoch(0)])  # type: ignore[misc]
    return arms, next(iter(arms))


def random_images(n: int) -> Images:
    """Return images of CIFAR-10's size."""
    pixels = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8)
    return Images(pixels, torch.randint(CLASSES, (n,)), tuple(map(str, range(CLASSES))), "random")


def prepared(method: Method, n: int, device: torch.device) -> tuple[Task, State]:
    """Return a training of one epoch on `n` random images."""
    images = random_images(n)
    settings = Settings(
        dataset="cifar10", model="preactresnet18", width=WIDTH, batch_size=BATCH, epochs=1, device=str(device)
    )
    splits = Splits(images, images.slice(0, 100), images.slice(0, 100), CARD)
    return build(Task.of(method, settings.resolved(method), splits))[:2]


def row(name: str, images: int, seconds: dict[str, list[float]], base: str) -> dict[str, object]:
    """Return the figures of one arm."""
    return {
        "arm": name,
        **figures(seconds[name]),
        "images_per_second": round(images / median(seconds[name])),
        f"over_{base}": ratio(seconds[name], seconds[base]),
    }


ARMS: dict[str, Callable[[Path, torch.device], Arms]] = {"batch": batch, "epoch": epoch, "workers": workers}

if __name__ == "__main__":
    main()
