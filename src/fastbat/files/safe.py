"""Files that a crash leaves whole: written beside their place, read back, and renamed onto it; folders held by one.

A file is on the disk before it has its name, and its name is before anything relies on it: fsync of both.
"""

import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO

from fastbat.errors import InputError

AT_ONCE = 2**20  # bytes that are read back
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def replacing(
    path: Path, kept: Path | None = None, check: Callable[[Path], None] = lambda file: None
) -> Iterator[IO[bytes]]:
    """Open a file beside `path` for writing; on success it replaces `path` at once, on failure `path` is untouched.

    Args:
        path: of a file that there may be already.
        kept: what the file that was there is then called; None: it is removed.
        check: raises an error if what was written, on disk by then, cannot be read back.
    """
    beside = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        check(beside)
        if kept is not None and path.exists():
            path.replace(kept)
        beside.replace(path)
        sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def replace(path: Path, *parts: bytes | memoryview, kept: Path | None = None) -> None:
    """Let the file `path` hold these bytes, once they were read back; what it was is then `kept`, if that is given."""
    with replacing(path, kept, lambda beside: check_written(beside, path, parts)) as file:
        for part in parts:
            file.write(part)


def check_written(beside: Path, path: Path, parts: Sequence[bytes | memoryview]) -> None:
    """Raise OSError, about `path`, unless the file `beside` it holds these bytes on disk, not only in memory."""
    with beside.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        pieces = (part[i : i + AT_ONCE] for part in parts for i in range(0, len(part), AT_ONCE))
        if not (all(file.read(len(piece)) == piece for piece in pieces) and file.read(1) == b""):
            raise OSError(errno.EIO, "what is read back is not what was written", str(path))


def sync(folder: Path) -> None:
    """Let the names in `folder` be on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_beside(path: Path, idle: float = 0.0) -> None:
    """Remove what a crash left beside `path`, nobody else writing that file; else what was not written to for `idle` s.

    What is being written is written to all the time.
    """
    for file in path.parent.glob(".*") if path.parent.is_dir() else ():
        if re.fullmatch(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}", file.name):
            with suppress(FileNotFoundError):
                if not idle or time.time() - file.stat().st_mtime > idle:
                    file.unlink()


@contextmanager
def locked(folder: Path, doing: str, name: str = ".lock") -> Iterator[None]:
    """Make `folder` and hold it for this process alone; the system lets go of it where the process ends, however.

    Raises InputError where another process is `doing` in it, or its file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise InputError(
                f"another process is {doing} in {str(folder)!r}; wait for it or name another --out"
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            raise InputError(
                f"the file system of {str(folder)!r} has no locks (flock: {error.strerror}), so two processes could "
                "write there; name an --out on another"
            ) from error
        yield
