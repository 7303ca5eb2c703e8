"""Where every random number comes from: a key, never a process's own history.

    training noise, augmentation    (seed, step)                         of the global batch
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


def seed_torch(*key: int | str) -> None:
    """Seed torch's global generators (all devices) from `key`: noise inside a training step, weights."""
    seed_generators(int(generator(*key).integers(2**63)))


def seed_generators(seed: int) -> None:
    """Seed torch's global generators as torch.manual_seed does, whose stack traces take 1 ms without an accelerator."""
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def uniform_like(x: Tensor) -> Tensor:
    """Draw U(-1, 1) of x's shape for a training batch, from torch's global generator of the step.

    Every uniform number of a method comes from here, so that a batch cut over processes can be given its slice of the
    draw for the whole batch.
    """
    fixed = STARTS.get()
    return 2 * (torch.rand_like(x) if fixed is None else fixed(x)) - 1


@contextmanager
def starts_fixed(index: Tensor, *key: int | str) -> Iterator[None]:
    """Let row i of a method's uniform numbers within the block depend on (`key`, the draw, index[i]) alone.

    So the same image has the same starts whatever batch it is in, and a method is a function of weights and images.
    """
    draws = count()
    token = STARTS.set(lambda x: uniform_starts(x, index, *key, next(draws)))
    try:
        yield
    finally:
        STARTS.reset(token)


STARTS: ContextVar[Callable[[Tensor], Tensor] | None] = ContextVar("starts", default=None)


def uniform_starts(x: Tensor, index: Tensor, *key: int | str) -> Tensor:
    """Draw U(0, 1) of x's shape; row i depends on (`key`, index[i]) alone, whatever batch it is in."""
    rows = [generator(*key, i).random(x.shape[1:], dtype=np.float32) for i in index.tolist()]
    return torch.from_numpy(np.stack(rows)).to(x)
