"""Where every random number comes from: a key, never a process's own history.

    training noise, augmentation    (seed, step)                         of the whole batch
    the order of an epoch           (seed, epoch)
    starting points of an attack    (seed, attack, restart, image index)

So a resumed run, another batch size in evaluation, or another way of cutting the work gives what one
undisturbed process gives.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from fastbat.lazy import Tensor, np, torch


def generator(*key: int | str) -> np.random.Generator:
    """Return a NumPy generator that depends on `key` alone (names enter by their CRC-32)."""
    return np.random.default_rng([zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key])


def seed_torch(*key: int | str) -> None:
    """Seed torch's global generators (all devices) from `key`: noise inside a training step, weights."""
    torch.manual_seed(torch_seed(*key))


def torch_seed(*key: int | str) -> int:
    """Return the seed that torch's generators get from `key`."""
    return int(generator(*key).integers(2**63))


def uniform_like(x: Tensor) -> Tensor:
    """Draw U(-1, 1) of x's shape for the images of a batch, a row each.

    Every random number of a method comes from here or from `normal_like`, so that a part of a batch can be given its
    rows of what is drawn for the whole (`drawn_for_whole`).
    """
    return 2 * _drawn("uniform_", x) - 1


def normal_like(x: Tensor) -> Tensor:
    """Draw N(0, 1) of x's shape for the images of a batch, a row each."""
    return _drawn("normal_", x)


@dataclass(frozen=True)
class _Whole:
    """The noise of a whole batch, of which a part takes the rows `place`."""

    size: int
    place: Tensor  # (B,) int64, on the host
    seed: int
    generators: dict[torch.device, torch.Generator] = field(default_factory=dict)

    def generator(self, device: torch.device) -> torch.Generator:
        """Return the generator of all draws on `device`; it begins as torch's own does after `seed_torch`."""
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self.generators[device]


_WHOLE: ContextVar[_Whole | None] = ContextVar("_WHOLE", default=None)


@contextmanager
def drawn_for_whole(size: int, place: Tensor, *key: int | str) -> Iterator[None]:
    """Let noise in the block be the rows `place` (B,) of what a batch of `size` images draws after `seed_torch(*key)`.

    So the parts of a batch together draw what it would draw whole, on however many processes they are. Torch's global
    generators stay as they are.
    """
    token = _WHOLE.set(_Whole(size, place, torch_seed(*key)))
    try:
        yield
    finally:
        _WHOLE.reset(token)


def _drawn(how: str, x: Tensor) -> Tensor:
    """Return what torch's `how`, such as "uniform_", fills a tensor of x's shape and layout with."""
    own, whole = torch.empty_like(x), _WHOLE.get()
    if whole is None:
        filled: Tensor = getattr(own, how)()
        return filled
    if len(x) != len(whole.place):
        raise RuntimeError(f"noise for {len(x)} rows, of a part of a batch with {len(whole.place)} images")
    row = torch.empty_like(own[0])
    shape, strides = (whole.size, *row.shape), (row.numel(), *row.stride())  # own's layout, with more rows
    drawn = torch.empty_strided(shape, strides, dtype=own.dtype, device=own.device)
    getattr(drawn, how)(generator=whole.generator(own.device))
    return torch.index_select(drawn, 0, whole.place.to(own.device, non_blocking=True), out=own)


def uniform_starts(x: Tensor, index: Tensor, *key: int | str) -> Tensor:
    """Draw U(0, 1) of x's shape; row i depends on (`key`, index[i]) alone, whatever batch it is in."""
    rows = [generator(*key, i).random(x.shape[1:], dtype=np.float32) for i in index.tolist()]
    return torch.from_numpy(np.stack(rows)).to(x)
