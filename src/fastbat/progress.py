"""Progress for people, on stderr: bars in a terminal, plain lines everywhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Show = Callable[[float, str], None]  # show(share done in [0, 1], what is being done)

console = Console(stderr=True, highlight=False)


@contextmanager
def bar(text: str) -> Iterator[Show]:
    """Show a bar until the block ends; yields show(share done, text). Silent where stderr is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(text, total=1.0)
        yield lambda share, text: progress.update(task, completed=share, description=text)


def say(line: str) -> None:
    """Print one line for people on stderr."""
    console.print(line, soft_wrap=True, markup=False)
