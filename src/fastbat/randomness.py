"""Where every random number comes from: a key, never a process's own history.

    training noise, augmentation    (seed, step)                         of the whole batch
    the order of an epoch           (seed, epoch)
    starting points of an attack    (seed, attack, restart, image index)

So a resumed run, another batch size in evaluation, or another way of cutting the work gives what one
undisturbed process gives.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

from fastbat.lazy import Tensor, np, torch


def generator(*key: int | str) -> np.random.Generator:
    """Return a NumPy generator that depends on `key` alone (names enter by their CRC-32)."""
    return np.random.default_rng([zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key])


def torch_seed(*key: int | str) -> int:
    """Return the seed that torch's generators get from `key`."""
    return int(generator(*key).integers(2**63))


def seed_torch(*key: int | str) -> None:
    """Seed torch's global generators (all devices) from `key`: noise inside a training step, weights."""
    seed_generators(torch_seed(*key))


def seed_generators(seed: int) -> None:
    """Seed torch's global generators as torch.manual_seed does, whose stack traces take 1 ms without an accelerator."""
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def uniform_like(x: Tensor) -> Tensor:
    """Draw U(-1, 1) of x's shape for the images of a batch, a row each.

    Every random number of a method comes from here or from `normal_like`, so that a part of a batch can be given its
    rows of what is drawn for the whole (`drawn_for_whole`), and an image its own (`starts_fixed`).
    """
    return 2 * _DRAW.get()("uniform_", x) - 1


def normal_like(x: Tensor) -> Tensor:
    """Draw N(0, 1) of x's shape for the images of a batch, a row each."""
    return _DRAW.get()("normal_", x)


Draw = Callable[[str, Tensor], Tensor]  # what torch's "uniform_" or "normal_" fills a tensor of x's shape with

_OF_NO_IMAGE: ContextVar[bool] = ContextVar("of no image", default=False)
_DRAW: ContextVar[Draw] = ContextVar("draw", default=lambda how, x: getattr(torch.empty_like(x), how)())


@contextmanager
def of_no_image() -> Iterator[None]:
    """Let what the block does be for all images of a batch: its random numbers are the same for all parts of it.

    They may have any shape. Nor is a pass of the network in it one of the batch's images.
    """
    token = _OF_NO_IMAGE.set(True)
    try:
        yield
    finally:
        _OF_NO_IMAGE.reset(token)


def is_of_no_image() -> bool:
    """Say whether this is called within such a block."""
    return _OF_NO_IMAGE.get()


@contextmanager
def _drawn_by(draw: Draw) -> Iterator[None]:
    token = _DRAW.set(draw)
    try:
        yield
    finally:
        _DRAW.reset(token)


@contextmanager
def starts_fixed(index: Tensor, *key: int | str) -> Iterator[None]:
    """Let row i of a method's random numbers within the block depend on (`key`, the draw, index[i]) alone.

    So the same image has the same starts whatever batch it is in, and a method is a function of weights and images.
    """
    draws = count()

    def draw(how: str, x: Tensor) -> Tensor:
        return _rows(how, x, torch.arange(len(x)) if _OF_NO_IMAGE.get() else index, *key, next(draws))

    with _drawn_by(draw):
        yield


@contextmanager
def drawn_for_whole(size: int, place: Tensor, *key: int | str) -> Iterator[None]:
    """Let noise in the block be the rows `place` (B,) of what a batch of `size` images draws after `seed_torch(*key)`.

    So the parts of a batch together draw what it would draw whole, on however many processes they are. Torch's global
    generators stay as they are.
    """
    seed, generators = torch_seed(*key), dict[torch.device, torch.Generator]()

    def draw(how: str, x: Tensor) -> Tensor:
        if x.device not in generators:
            generators[x.device] = torch.Generator(x.device).manual_seed(seed)
        if _OF_NO_IMAGE.get():
            return getattr(torch.empty_like(x), how)(generator=generators[x.device])  # type: ignore[no-any-return]
        if len(x) != len(place):
            raise RuntimeError(f"noise for {len(x)} rows, of a part of a batch with {len(place)} images")
        own, row = torch.empty_like(x), torch.empty_like(x[0])
        shape, strides = (size, *row.shape), (row.numel(), *row.stride())  # own's layout, with more rows
        whole = torch.empty_strided(shape, strides, dtype=x.dtype, device=x.device)
        getattr(whole, how)(generator=generators[x.device])
        return torch.index_select(whole, 0, place.to(x.device, non_blocking=True), out=own)

    with _drawn_by(draw):
        yield


def uniform_starts(x: Tensor, index: Tensor, *key: int | str) -> Tensor:
    """Draw U(0, 1) of x's shape; row i depends on (`key`, index[i]) alone, whatever batch it is in."""
    return _rows("uniform_", x, index, *key)


def _rows(how: str, x: Tensor, index: Tensor, *key: int | str) -> Tensor:
    name = {"uniform_": "random", "normal_": "standard_normal"}[how]
    rows = [getattr(generator(*key, i), name)(x.shape[1:], dtype=np.float32) for i in index.tolist()]
    return torch.from_numpy(np.stack(rows)).to(x)
