"""What a benchmark was measured with, and its table."""

import platform
import subprocess
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table


def machine() -> dict[str, object]:
    """Return processor, threads, torch's version and the commit, "+" where the tree has changed since."""
    commit, changes = (git(*words) for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "-uno")))
    name = torch.cpu.get_capabilities().get("cpu_name", platform.processor())
    about = {"threads": torch.get_num_threads(), "torch": torch.__version__, "commit": commit + "+" * bool(changes)}
    if torch.cuda.is_available():
        about["gpu"] = torch.cuda.get_device_name()
    return {"machine": name, **about}


def git(*words: str) -> str:
    """Return what git says of this checkout."""
    here = Path(__file__).resolve().parent
    return subprocess.run(["git", *words], capture_output=True, text=True, cwd=here).stdout.strip()


def show_arms(title: str, arms: list[dict[str, object]]) -> None:
    """Print the figures of the arms, a row each."""
    table = Table(*(name.replace("_", " ") for name in arms[0]), title=title)
    for arm in arms:
        table.add_row(*map(str, arm.values()))
    Console(width=110).print(table)
