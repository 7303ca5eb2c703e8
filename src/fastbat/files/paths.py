"""What is given as a path: whether there can be such a file or folder, and whether it may be written."""

import os
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from fastbat.errors import InputError


def as_path(name: str, given: Any) -> Path:
    """Return what is `given` for `name` as a path; InputError where no file or folder can be called so."""
    if not isinstance(given, str | os.PathLike) or not isinstance(text := os.fspath(given), str):
        raise InputError(f"{name} is of type {type(given).__name__}; give a path")
    try:
        if not text:
            raise ValueError("it is empty")
        os.stat(text)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # such a path there can be
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{name} is {shortened(text)}, which is no path: {why}; give a path") from error
    return Path(text)


def check_file(path: Path) -> None:
    """Raise InputError where there is no file `path`."""
    if not path.is_file():
        raise InputError(f"no file {str(path)!r}; name a run directory or a file of weights")


def check_writable(folder: Path) -> None:
    """Raise InputError where `folder` is not one, or could not be made or written; make nothing."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise InputError(
            f"cannot write into {str(folder)!r}; name another folder, or check the rights of {str(place)!r}"
        )


def check_page(file: Path) -> None:
    """Raise InputError where no report can be written to `file`."""
    check_new(file, (".html", ".htm"), "a report")


def check_new(file: Path, endings: Sequence[str], what: str) -> None:
    """Raise InputError where `what` cannot be written to `file`, or its name has none of the `endings`."""
    if file.suffix not in endings:
        raise InputError(f"{str(file)!r} must end in {' or '.join(endings)}, which is what {what} is")
    if file.is_dir():
        raise InputError(f"{str(file)!r} is a folder; name a file in it")
    check_writable(file.parent)
