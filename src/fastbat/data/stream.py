"""Images too many for memory: they stay encoded on disk, and worker processes decode them batch by batch.

    training    the shorter side resized to the phase's `resize` (bicubic), a random-resized crop, a flip
    evaluation  the shorter side resized to 256, the 224 x 224 pixels in the middle

What is drawn depends on (seed, step, place in the batch) alone, so the number of workers changes nothing.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Thread
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from fastbat.data.cards import Phase
from fastbat.data.crop import centre, random_part, resized
from fastbat.data.encoded import Encoded
from fastbat.data.images import Images
from fastbat.data.picture import chw
from fastbat.errors import InputError
from fastbat.progress import bar
from fastbat.randomness import generator

RESIZE, CROP = 256, 224  # of evaluation
AT_ONCE = 64  # images decoded between two looks at the progress
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PROCESSES = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of torchrun, that share the cores


@dataclass(frozen=True)
class Decoder:
    """Keys (image, batch, place in the batch) -> (C, crop, crop) uint8; it lives in the workers."""

    encoded: Encoded
    seed: int = 0
    first: int = 0  # the step of the first batch
    phase: Phase | None = None  # None: as evaluated
    flip: bool = False

    def __getitem__(self, key: tuple[int, int, int]) -> Tensor | InputError:
        """Return the image; an error is returned too, for one that a worker raises comes with pages of traceback."""
        try:
            return torch.from_numpy(chw(self._image(*key)))
        except InputError as error:
            return error

    def _image(self, i: int, batch: int, place: int) -> Image.Image:
        if self.phase is None:
            return centre(self.encoded.open(i), RESIZE, CROP)
        image = self.encoded.open(i, at_least=self.phase.resize)
        if self.phase.resize is not None:
            image = resized(image, self.phase.resize, Image.Resampling.BICUBIC)
        rng = generator(self.seed, "augment", self.first + batch, place)
        return random_part(image, self.phase.crop, self.flip, rng)


@dataclass(frozen=True)
class Stream:
    """Labelled images on disk, of any sizes."""

    encoded: Encoded
    labels: Tensor  # (N,) int64, on the device that batches go to
    classes: tuple[str, ...]
    fingerprint: str  # SHA-256 over the names and sizes of the files
    workers: int  # processes that decode, at most one a core; 0: this one
    start: int = 0  # the place of the first image in `encoded`

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.encoded.channels

    def __len__(self) -> int:
        return len(self.labels)

    def slice(self, start: int, stop: int | None) -> "Stream":
        """Return images start..stop, in order; the fingerprint stays that of the whole set."""
        first = range(len(self))[start:stop].start
        return replace(self, labels=self.labels[start:stop], start=self.start + first)

    def to(self, device: torch.device) -> "Stream":
        """Return the same images, their batches on `device`."""
        return replace(self, labels=self.labels.to(device))

    def decoded(self) -> Images:
        """Return the images as they are evaluated, (N, C, 224, 224) uint8: 150 kB each in colour."""
        pixels, done = torch.empty((len(self), self.channels, CROP, CROP), dtype=torch.uint8), 0
        with bar("decoding images") as show:
            places = torch.arange(len(self)).split(AT_ONCE) if len(self) else ()
            for part in self.read(places, places, Decoder(self.encoded)):
                pixels[done : done + len(part)] = part
                done += len(part)
                show(done / len(self), f"decoding {len(self)} images")
        return Images(pixels.to(self.labels.device), self.labels, self.classes, self.fingerprint)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return x (N, C, 224, 224) float32 in [0, 1] and y (N,) int64."""
        return self.decoded().tensors()

    def read(self, batches: Sequence[Tensor], places: Sequence[Tensor], decoder: Decoder) -> Iterator[Tensor]:
        """Yield the images of each batch, decoded; at the same index `places` has their places in the whole batch."""
        keys = (
            [(self.start + j, i, k) for j, k in zip(batch.tolist(), place.tolist(), strict=True)]
            for i, (batch, place) in enumerate(zip(batches, places, strict=True))
            if len(batch)
        )
        loader = DataLoader[Any](
            decoder,  # type: ignore[arg-type]  # it has all that is asked of it
            batch_sampler=keys,
            num_workers=min(self.workers, max(1, CORES // PROCESSES), len(batches)),
            collate_fn=_stacked,
            pin_memory=self.labels.is_cuda,
            generator=torch.Generator(),  # nothing here is to draw from the global one
            worker_init_fn=_left_to_its_parent,
        )
        made = iter(loader)
        for batch in batches:
            pixels = next(made) if len(batch) else torch.empty((0, self.channels, CROP, CROP), dtype=torch.uint8)
            if isinstance(pixels, InputError):
                raise pixels
            yield pixels


def _left_to_its_parent(_: int) -> None:
    """Let a worker end by its parent alone: Ctrl-C and a scheduler's SIGTERM reach every process of a job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # else a SIGTERM of anybody ends it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        Thread(target=_end_by_parent, args=(os.getppid(),), daemon=True).start()


def _end_by_parent(parent: int) -> None:
    """Wait until the process `parent` sends SIGTERM, as it does where it leaves a stream that is not at its end."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def _stacked(images: list[Any]) -> Tensor | InputError:
    return next((image for image in images if isinstance(image, InputError)), None) or torch.stack(images)


ImageSet = Images | Stream
