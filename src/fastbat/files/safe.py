"""Files written beside their place and renamed onto it; folders held by one process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import IO

from fastbat.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file beside `path` for writing; on success it replaces `path` at once, on failure `path` is untouched."""
    beside = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, doing: str, name: str = ".lock") -> Iterator[None]:
    """Make `folder` and hold it for this process alone; raises InputError where another process is `doing` in it."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / name, timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise InputError(f"another process is {doing} in {str(folder)!r}; wait for it or name another --out") from error
