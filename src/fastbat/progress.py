"""Progress for people, on stderr: bars in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

Show = Callable[[float, str], None]  # show(share done in [0, 1], what is being done)

SECONDS_BETWEEN_LINES = 60

console = Console(stderr=True)  # of the bars; none in a notebook


@contextmanager
def bar(text: str, pause: float | None = None) -> Iterator[Show]:
    """Show how far the block has come, in a bar or a line every `pause` seconds (60); yields show(share done, text)."""
    if not console.is_terminal:
        yield _line_now_and_then(SECONDS_BETWEEN_LINES if pause is None else pause)
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(text, total=1.0)
        yield lambda share, text: progress.update(task, completed=share, description=text)


def _line_now_and_then(pause: float) -> Show:
    last = time.monotonic()

    def show(share: float, text: str) -> None:
        nonlocal last
        if time.monotonic() - last > pause:
            last = time.monotonic()
            say(f"{text}, {share:.0%} done")

    return show


def say(line: str) -> None:
    """Print one line for people on stderr."""
    print(line, file=sys.stderr)
