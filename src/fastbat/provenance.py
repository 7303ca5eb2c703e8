"""What a number depends on beside its settings: command, commit, versions, machine, time; kept with every record."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastbat.lazy import torch

CHECKOUT = Path(__file__).resolve().parents[2]


def provenance(device: Any, command: str | None = None) -> dict[str, Any]:
    """Return what is recorded of work that begins now on `device`, asked for by `command` or else by this process."""
    return {"started": now(), "command": command or command_line(), "machine": machine(device)}


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def command_line() -> str:
    """Return the command that this process was started with, its program without its folder."""
    program = Path(sys.argv[0]).resolve()
    if program.stem == "fastbat" or Path(__file__).resolve().parent in program.parents:
        words = ["fastbat"]
    else:
        words = ["python", "-m", program.parent.name] if program.name == "__main__.py" else ["python", program.name]
    return shlex.join([*words, *sys.argv[1:]])


def machine(device: Any) -> dict[str, Any]:
    """Return processor, cores that may be used, torch's threads, and the GPU that the work is on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = {"gpu": torch.cuda.get_device_name(device)} if torch.device(device).type == "cuda" else {}
    return {"cpu": processor(), "cores": cores, "threads": torch.get_num_threads(), **gpu}


@cache
def processor() -> str:
    """Return the processor's name."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@cache
def commit() -> str | None:
    """Return the commit of the checkout that this package lies in, "+" where files changed since; None elsewhere."""
    if not (CHECKOUT / ".git").exists():
        return None
    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def git(*words: str) -> str:
    """Return what git prints in the checkout."""
    done = subprocess.run(["git", "-C", str(CHECKOUT), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def versions(*packages: str) -> dict[str, str | None]:
    """Return the versions of fastbat, with its commit, and of these packages."""
    return {"fastbat": version_of("fastbat"), "commit": commit(), **{name: version_of(name) for name in packages}}


@cache
def version_of(package: str) -> str:
    """Return the version of an installed package."""
    return version(package)
