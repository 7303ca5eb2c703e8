"""What a benchmark was measured with."""

import platform
import subprocess
from pathlib import Path

import torch


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
