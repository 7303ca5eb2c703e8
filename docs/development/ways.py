"""Count and draw the way of a value through a training and an evaluation: what it passes, how often it comes back.

    PYTHONPATH=src python docs/development/ways.py count NAME     # into ways.json, under the name of a commit
    python docs/development/ways.py draw                          # ways.svg, and the table of its numbers

A stop is a function of fastbat that takes the value: as an argument, or as an attribute, which it reads, of one. A
function counts once, at its first call; a value's own methods do not count. A return is a stop in a file that the way
had left before. The value is recognised by its type, or eps by its number. Runs on any commit with a command line.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
EPS = 37  # of 255, a number that nothing else has
FLAGS = "--method=fast-bat --epochs=2 --width=4 --train-limit=60 --select-limit=20 --precision=float32"
ATTACKS = "--attacks=clean,pgd --pgd-steps=2 --pgd-restarts=1 --limit=20"

Like = Callable[[Any], bool]
Stops = dict[tuple[str, str], str]  # file and function -> what it calls the value


def count() -> dict[str, list[list[str]]]:
    """Return the stops of each value in a training and an evaluation: file, function, name of the value."""
    import torch

    from fastbat.cli.main import main
    from fastbat.methods import METHODS

    torch.set_num_threads(1)
    likes: dict[str, Like] = {
        "method": lambda value: isinstance(value, tuple(METHODS.values())),
        "model": lambda value: isinstance(value, torch.nn.Module),
        "x": lambda value: isinstance(value, torch.Tensor) and value.ndim == 4,
        "eps": lambda value: isinstance(value, float) and min(abs(value - EPS), abs(value - EPS / 255)) < 1e-9,
    }
    found: dict[str, list[list[str]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder, "run"))
        commands = {
            "training": ["train", *FLAGS.split(), "--eps", str(EPS), "--out", run],
            "evaluation": ["evaluate", run, *ATTACKS.split()],
        }
        for what, words in commands.items():
            ways: dict[str, Stops] = {value: {} for value in likes}
            sys.setprofile(lambda frame, event, _, ways=ways: note(frame, event, ways, likes))  # type: ignore[misc]
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                finish(main, words)
            sys.setprofile(None)
            for value, stops in ways.items():
                found[f"{value}, {what}"] = [[*place, name] for place, name in stops.items()]
    return {way: stops for way, stops in found.items() if stops}


def finish(main: Callable[[list[str]], None], words: list[str]) -> None:
    """Run a command line; it may exit."""
    with contextlib.suppress(SystemExit):
        main(words)


def note(frame: FrameType, event: str, ways: dict[str, Stops], likes: dict[str, Like]) -> None:
    """Add the function that `frame` calls to the ways of the values that it takes."""
    code, source = frame.f_code, f"{os.sep}fastbat{os.sep}"
    if event != "call" or source not in code.co_filename or code.co_name.startswith("<"):
        return
    place = code.co_filename.rpartition(source)[2], code.co_qualname
    taken = dict(frame.f_locals)
    for value, like in likes.items():
        if place not in ways[value] and not like(taken.get("self")) and (name := name_of(taken, code.co_names, like)):
            ways[value][place] = name


def name_of(taken: dict[str, Any], read: tuple[str, ...], like: Like) -> str | None:
    """Return the name of the value among the arguments `taken`, or among the attributes of them that are `read`."""
    for name, value in taken.items():
        if like(value):
            return name
    owners = [each for each in taken.values() if type(each).__module__.startswith("fastbat") and not callable(each)]
    for owner in owners:
        for name, value in getattr(owner, "__dict__", {}).items():
            if name in read and like(value):
                return name
    return None


def returns(files: list[str]) -> int:
    """Return how often `files`, in order, come back to one that they had left."""
    return sum(now != files[at] and now in files[:at] for at, now in enumerate(files[1:]))


def draw(ways: dict[str, dict[str, list[list[str]]]]) -> None:
    """Print the table, and draw each way: stops from left to right, files from top to bottom, a column a commit."""
    names = list(next(iter(ways.values())))
    print("| way | commit | stops | files | returns | names |\n| --- | --- | --- | --- | --- | --- |")
    figure, axes = plt.subplots(len(names), len(ways), figsize=(11, 2.2 * len(names)), squeeze=False, sharex="row")
    for row, way in zip(axes, names, strict=True):
        for axis, (commit, found) in zip(row, ways.items(), strict=True):
            files, called = [file for file, _, _ in found[way]], {name for *_, name in found[way]}
            order = list(dict.fromkeys(files))
            numbers = (len(files), len(order), returns(files), len(called))
            print(f"| {way} | {commit} | {' | '.join(map(str, numbers))} |")
            axis.plot(range(len(files)), [order.index(file) for file in files], "o-", ms=3, lw=1)
            axis.set_yticks(range(len(order)), order, fontsize=5)
            axis.invert_yaxis()
            axis.set_title(f"{way}, {commit}: {numbers[0]} stops, {numbers[2]} returns", fontsize=8)
    figure.tight_layout()
    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "ways"}
    figure.savefig(HERE / "ways.svg", metadata={"Date": None})


if __name__ == "__main__":
    record = HERE / "ways.json"
    kept = json.loads(record.read_text()) if record.exists() else {}
    if sys.argv[1] == "count":
        record.write_text(json.dumps(kept | {sys.argv[2]: count()}, indent=1) + "\n")
    else:
        draw(kept)
