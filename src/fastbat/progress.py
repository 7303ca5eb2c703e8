"""Progress for people, on stderr: bars in a terminal, a plain line now and then elsewhere.

Of several processes under torchrun one speaks: the first, or until they have met the first of each machine.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from fastbat.plain import plain_text

Show = Callable[[float, str], None]  # show(share done in [0, 1], what is being done)

SECONDS_BETWEEN_LINES = 60

console = Console(stderr=True)  # of the bars; none in a notebook
speaks = os.environ.get("LOCAL_RANK", "0") == "0"
name = ""  # of this process, before what is wrong with it alone


def let_first_speak(rank: int) -> None:
    """Let this process, one of several that have met, say something only if it is the first."""
    global speaks, name
    speaks, name = rank == 0, f"process {rank}: "


@contextmanager
def bar(text: str, pause: float | None = None) -> Iterator[Show]:
    """Show how far the block has come, in a bar or a line every `pause` seconds (60); yields show(share done, text)."""
    if not (speaks and console.is_terminal):
        yield _line_now_and_then(SECONDS_BETWEEN_LINES if pause is None else pause)
        return
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(escape(plain_text(text)), total=1.0)
        yield lambda share, text: progress.update(task, completed=share, description=escape(plain_text(text)))


def _line_now_and_then(pause: float) -> Show:
    last = time.monotonic()

    def show(share: float, text: str) -> None:
        nonlocal last
        if time.monotonic() - last > pause:
            last = time.monotonic()
            say(f"{text}, {share:.0%} done")

    return show


def say(line: str) -> None:
    """Print one line for people on stderr, if this process speaks."""
    if speaks:
        print(plain_text(line), file=sys.stderr)


def complain(line: str) -> None:
    """Print one line on stderr of what is wrong with this process, which of several that have met is named."""
    if speaks or name:
        print(f"fastbat: {name}{plain_text(line)}", file=sys.stderr)
