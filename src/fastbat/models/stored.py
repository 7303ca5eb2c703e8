"""The weights within a file, whatever a training script wrapped them in; only tensors and plain data are unpickled.

A state_dict lies in a file as a whole or under a key, `state_dict`, `net`, `model`, ..., within others where need be.
What lies beside it, `epoch`, `test_acc`, ..., is what the file says of itself.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals

from fastbat.errors import InputError, no_memory
from fastbat.files import read_safetensors
from fastbat.models.beside import PLAIN
from fastbat.models.content import AGAIN, kind_of
from fastbat.plain import plain

DEEPEST = 8  # tables within tables that are looked through
KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params", "module")
LONGEST, MOST = 60, 20  # characters of a text, and how many figures, that are kept of what a file says of itself


@dataclass(frozen=True)
class Stored:
    """What a file holds."""

    tensors: Mapping[str, Tensor]
    key: str = ""
    """Where they lie in the file, such as state_dict; empty where they are all it holds."""
    others: tuple[str, ...] = ()
    """Where other tensors lie that could have been meant, such as an average of the weights."""
    says: Mapping[str, Any] = field(default_factory=dict)
    """Numbers and short texts next to them."""


def read_weights(path: Path) -> Stored:
    """Return what a file of weights holds, a safetensors file or one of torch.save, or a run directory's best weights.

    Raises InputError where it is neither, is damaged, holds objects that only running code opens, or no state_dict.
    """
    path = path / "best.safetensors" if path.is_dir() else path
    if not path.is_file() or (kind := kind_of(path)) == "safetensors":
        tensors, meta = read_safetensors(path)
        return Stored(tensors, says={} if "fastbat" in meta else figures(meta))
    if kind != "torch":
        raise InputError(f"{str(path)!r} holds a program, not weights; name a file of weights")
    return found_in(path, unpickled(path))


def unpickled(path: Path) -> Any:
    """Return what torch.save wrote, tensors, containers and plain data; InputError where it is more, or damaged."""
    try:
        with path.open("rb") as file, safe_globals(PLAIN):  # of a path, torch goes by the ending
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what it raises is not documented
        if no_memory(error):
            raise
        why = " ".join(str(error).split())
        if named := re.search(r"GLOBAL ([\w.]+)", why):
            raise InputError(
                f"{str(path)!r} holds {named[1]} next to tensors, which only running code opens; have the weights "
                "saved alone, with torch.save(model.state_dict(), FILE)"
            ) from error
        raise InputError(f"{str(path)!r} is damaged ({type(error).__name__}); {AGAIN}") from error


def found_in(path: Path, content: Any) -> Stored:
    """Return the state_dict within what a file holds; InputError, with its keys, where there is none or several."""
    found = dict(state_dicts(content))
    usual = [key for name in KEYS for key in found if key and key[-1] == name]
    most = max(map(len, found.values()), default=0)
    chosen = usual[:1] or [key for key, tensors in found.items() if len(tensors) == most]
    if len(chosen) != 1:
        keys = ", ".join(repr(str(key)) for key in list(content)[:8]) if isinstance(content, Mapping) else ""
        what = f"the keys {keys}" if keys else f"a {type(content).__name__}"
        why = "several sets of tensors; have the one that is meant saved alone" if chosen else "no state_dict"
        raise InputError(f"{str(path)!r} holds {what}: {why}")
    (key,) = chosen
    beside = {name: value for name, value in content.items() if key or not isinstance(value, Tensor)}
    others = tuple(
        ".".join(other) for other, tensors in found.items() if other != key and len(tensors) == len(found[key])
    )
    return Stored(found[key], ".".join(key), others, figures(beside))


def state_dicts(content: Any, key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield the keys that lead to every table of named tensors within `content`, and the tensors."""
    if not isinstance(content, Mapping) or "param_groups" in content or len(key) > DEEPEST:  # an optimizer's
        return
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if any(tensor.ndim for tensor in tensors.values()):
        yield key, tensors
    for name, value in content.items():
        yield from state_dicts(value, (*key, str(name)))


def figures(table: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the first numbers and short texts of a table."""
    found = {}
    for name, value in table.items():
        value = plain(value)
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)  # which JSON has no number for
        if short(str(name)) and (isinstance(value, bool | int | float) or (isinstance(value, str) and short(value))):
            found[str(name)] = value
    return dict(islice(found.items(), MOST))


def short(text: str) -> bool:
    """Return whether a text of a file can be shown in a line."""
    return len(text) <= LONGEST and text.isprintable()
