"""The device a run is on: by name, its clock, its memory."""

from __future__ import annotations

import re
import resource
import sys

from fastbat.errors import InputError
from fastbat.lazy import torch


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is cuda where there is one. Raises InputError where there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.empty(0, device=name).device
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(device.type)
        return device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise unavailable(name) from error


def check_device(name: str) -> None:
    """Raise InputError where there is no device called `name`; what needs no look at the machine is known at once."""
    if not isinstance(name, str) or not re.fullmatch(r"auto|(cpu|cuda)(:\d+)?", name):
        raise unavailable(name)
    if name.startswith("cuda"):
        pick_device(name)


def unavailable(name: str) -> InputError:
    """Return the error that there is no device called `name`."""
    return InputError(f"device {name!r} is not available here; choose cpu, cuda or auto")


def synchronize(device: torch.device) -> None:
    """Wait for the work queued on `device`, so that a clock read afterwards is true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_mib(device: torch.device) -> float:
    """Return the most memory that this process has used so far, MiB: on a CUDA device allocated, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
