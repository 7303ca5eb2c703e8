"""A torch.export program of somebody else, opened without running anything but tensor operations.

torch.export.load unpickles what it finds in the archive and looks up each operation by name, whatever the name. So the
archive is looked through first: stored objects must load with weights_only, and every operation must be an operator.
"""

import io
import json
import logging
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastbat.errors import InputError

OPERATORS = ("torch.ops.", "_operator.", "torch.sym_", "math.")


class Program(nn.Module):
    """An exported program; it has one mode, the one it was exported in."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        refuse_code(path)
        logging.disable(logging.CRITICAL)  # torch tells of a damaged archive in many lines
        try:
            self.program = torch.export.load(path).module()
        except Exception as error:  # what a damaged archive raises is not documented
            why = str(error).strip().partition("\n")[0]
            raise InputError(f"{str(path)!r} is no program of this torch ({why}); export it anew") from error
        finally:
            logging.disable(logging.NOTSET)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the program returns."""
        logits: Tensor = self.program(x)
        return logits

    def train(self, mode: bool = True) -> "Program":
        """Do nothing to the program, which has no modes."""
        self.training = mode
        return self


def open_program(path: Path) -> nn.Module:
    """Return the program of a .pt2 file; InputError where it is none, or would run code when it is opened."""
    return Program(path)


def refuse_code(path: Path) -> None:
    """Raise InputError unless the archive holds nothing but tensors and operators."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            files = {name.partition("/")[2]: archive.read(name) for name in names}
        if len(files) < len(names) or len({name.partition("/")[0] for name in names}) != 1 or "" in files:
            raise ValueError("its files do not lie each once in one folder")  # another reader might see others
        reason = next(code(files), None)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise InputError(f"{str(path)!r} is not a whole .pt2 archive ({error}); export it anew") from error
    if reason is not None:
        raise InputError(
            f"{str(path)!r} would run code when opened: {reason}; where you trust it, load it yourself and give the "
            "module to fastbat.evaluate"
        )


def code(files: Mapping[str, bytes]) -> Iterator[str]:
    """Yield every reason why an archive of these files would run code."""
    pickles = {name for name in files if name.endswith(".pt")}
    for name, content in files.items():
        folder = name.rpartition("/")[0]
        entries = list(dicts(json.loads(content))) if name.endswith(".json") else []
        pickles |= {f"{folder}/{entry.get('path_name')}" for entry in entries if entry.get("use_pickle")}
        operations = {
            entry["target"] for entry in entries if isinstance(entry.get("target"), str) and "inputs" in entry
        }
        yield from (f"it calls {each}" for each in sorted(operations) if not each.startswith(OPERATORS))
        if name.startswith("data/aotinductor/") or "/custom_obj" in name:
            yield f"{name} is compiled code or an object"
    for name in sorted(pickles & files.keys()):
        try:
            torch.load(io.BytesIO(files[name]), weights_only=True) if files[name] else None
        except Exception as error:  # what it raises is not documented
            yield f"{name} holds more than tensors ({type(error).__name__})"


def dicts(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within a JSON value."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from dicts(value)
