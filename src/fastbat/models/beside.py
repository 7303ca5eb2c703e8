"""Plain data that training scripts leave beside weights: NumPy's numbers and arrays, a command line's arguments, paths.

A file names what it is built of. Each name here stands for something of this module, so that no code of NumPy's or of
Python's library is called with what a file says.
"""

import struct
from collections.abc import Callable
from typing import Any

FORMATS = {  # of the struct module, by NumPy's code of a number
    "f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "u8": "Q", "u4": "I", "u2": "H",
    "u1": "B", "b1": "?",
}  # fmt: skip


class Kind:
    """A kind of NumPy's numbers: its code, such as f8, and its byte order."""

    def __init__(self, code: str, *how: object) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"


class Unread:
    """Something that is not read, whatever it was made of."""

    def __init__(self, *of: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def number(kind: Kind, data: bytes) -> float | int | bool | Unread:
    """Return a number of NumPy's; others, such as a date, are not read."""
    return struct.unpack(kind.order + FORMATS[kind.code], data)[0] if kind.code in FORMATS else Unread()


def path(*parts: str) -> str:
    """Return a path as text."""
    return "/".join(parts)


PLAIN: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (Unread, "argparse.Namespace"),
    (Kind, "numpy.dtype"),
    (Unread, "numpy.ndarray"),
    *((number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((Unread, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((path, f"{module}.{name}") for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")),
]
