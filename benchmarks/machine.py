"""What a benchmark was measured with."""

import platform
import subprocess

import torch


def machine() -> dict[str, object]:
    """Return processor, threads, torch's version and the commit."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    name = torch.cpu.get_capabilities().get("cpu_name", platform.processor())
    return {"machine": name, "threads": torch.get_num_threads(), "torch": torch.__version__, "commit": commit}
