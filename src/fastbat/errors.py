"""What the user can mend: one line that says what was found, where, and what to do."""

import math
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fastbat.lazy import torch

ELSEWHERE = "raised by another process, which says it"  # the note of an error


class InputError(ValueError):
    """Bad input, found before any work was started; its text is one line for the user."""


class Damaged(InputError):
    """A file that was truncated or altered since it was written."""


class DivergedError(RuntimeError):
    """Training ran into a loss that is no number; its text says where, and what is saved."""


class Stopped(KeyboardInterrupt):
    """A signal ended a training between two updates; its text says where, and how to resume."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number  # of the signal


def said_elsewhere(error: BaseException) -> bool:
    """Say whether another process under torchrun raised `error`, and says it."""
    return ELSEWHERE in getattr(error, "__notes__", ())


def lost_another(error: BaseException) -> bool:
    """Say whether `error` is that another process under torchrun has ended."""
    return "gloo/transport" in str(error) or isinstance(error, torch.distributed.DistError)


def no_memory(error: BaseException) -> bool:
    """Say whether `error` is want of memory; on a CPU torch raises a RuntimeError for that."""
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return True
    return isinstance(error, MemoryError | torch.OutOfMemoryError)


def choose(what: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is one of `known`; else raise InputError with the nearest known name."""
    known = list(known)
    if name in known:
        return name
    listed = f"known: {', '.join(known)}" if len(known) <= 40 else f"{len(known)} others are known"
    hint = f"did you mean {near!r}? " if (near := nearest(str(name), known)) else ""
    raise InputError(f"unknown {what} {name!r}; {hint}{listed}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that is nearest to `name` by spelling, None where none is near."""
    written = {each.lower(): each for each in known}
    return next((written[each] for each in get_close_matches(name.lower(), written, n=1, cutoff=0.6)), None)


def check_choices(settings: Any) -> None:
    """Raise InputError where a field of the dataclass `settings` is one of several words, and is none of them."""
    for name, words in choices(type(settings)).items():  # type: ignore[arg-type]  # a class does hash
        choose(name, getattr(settings, name), words)


@cache
def choices(kind: type) -> dict[str, tuple[str, ...]]:
    """Return the fields of the dataclass `kind` that are one of several words, with these."""
    return {name: get_args(hint) for name, hint in get_type_hints(kind).items() if get_origin(hint) is Literal}


def check_weight(name: str, weight: float) -> None:
    """Raise InputError unless the setting `name`, which weighs something, is a number of 0 or above."""
    if not 0 <= weight < math.inf:
        raise InputError(f"{name} is {weight:g}; it must be 0 or above, and finite")


def check_count(name: str, count: int) -> None:
    """Raise InputError unless the setting `name`, which counts something, is at least 1."""
    if count < 1:
        raise InputError(f"{name} is {count}; it must be at least 1")
