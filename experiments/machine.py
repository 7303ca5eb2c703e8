"""What the timings share: arms timed in turn, the machine and the commit, figures as a table and a file."""

import json
import platform
import subprocess
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.table import Table

from fastbat.runtime.device import synchronize

Name = TypeVar("Name", bound=Hashable)


def parser(doc: str | None, rounds: int) -> ArgumentParser:
    """Return a parser with what every timing of steps takes; its help is `doc`, the head of the file."""
    made = ArgumentParser(description=doc, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help="at least 2")
    made.add_argument("--device", default="cpu")
    made.add_argument("--out", type=Path, help="JSON file")
    return made


def interleaved(
    arms: Mapping[Name, Callable[[], object]], rounds: int, device: torch.device
) -> dict[Name, list[float]]:
    """Return the seconds of every arm in every round; each round runs all arms, and one more, the first, warms up."""
    seconds: dict[Name, list[float]] = {name: [] for name in arms}
    for i in range(-1, rounds):
        for name, run in arms.items():
            torch.manual_seed(i)
            start = time.perf_counter()
            run()
            synchronize(device)
            if i >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def figures(seconds: Sequence[float]) -> dict[str, object]:
    """Return the median and the quartiles in ms."""
    low, middle, high = (round(1000 * second, 2) for second in quantiles(seconds, n=4))
    return {"ms": middle, "quartiles_ms": [low, high]}


def ratio(seconds: Sequence[float], base: Sequence[float]) -> float:
    """Return the median of the rounds' own ratios."""
    return round(median(a / b for a, b in zip(seconds, base, strict=True)), 3)


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


def publish(title: str, arms: list[dict[str, Any]], out: Path | None, **about: object) -> None:
    """Print the figures of the arms, a row each; write them with `about` and the machine to the JSON file `out`."""
    report = {**about, **machine(), "arms": arms}
    table = Table(
        *(name.replace("_", " ") for name in arms[0]),
        title=f"{title}, {report['threads']} thread{'s' * (report['threads'] > 1)} of {report['machine']}",
    )
    for arm in arms:
        table.add_row(*("" if value is None else str(value) for value in arm.values()))
    Console(width=130).print(table)
    if out:
        out.write_text(json.dumps(report, indent=1) + "\n")
