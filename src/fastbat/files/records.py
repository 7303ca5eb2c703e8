"""Records on disk: lines of JSON that are added one by one, each with a checksum, and objects of JSON.

A line ends with the CRC-32 of the record before it, `"check": "0a1b2c3d"`. One that was altered or cut short is left
out. Lines without a checksum, of older versions or other programs, count as they are.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

from fastbat.errors import InputError
from fastbat.files.safe import replace, sync
from fastbat.progress import say

CHECK = "check"


def line_of(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line of JSON with its checksum."""
    text = json.dumps(record).encode()
    return text[:-1] + ending(text) + b"\n"


def ending(text: bytes) -> bytes:
    """Return what the line of the JSON object `text` ends with in the place of its last brace."""
    return b', "%s": "%08x"}' % (CHECK.encode(), crc32(text))


def record_of(line: bytes) -> dict[str, Any] | None:
    """Return the record in a line; None where it was altered or cut short."""
    end = len(ending(b""))
    text = line[:-end] + b"}"
    with suppress(ValueError):
        if b"%08x" % crc32(text) in line[-end:]:
            return dict(json.loads(text))
        record = json.loads(line)
        return None if not isinstance(record, dict) or CHECK in record else record
    return None


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line of JSON to `path`; a line that a crash cut short before it is ended first."""
    new = not path.exists()
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
        torn = size > 0 and file.read(1) != b"\n"
        file.write(b"\n" * torn + line_of(record))
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync(path.parent)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines; those that were altered are left out, and said."""
    records = list[dict[str, Any]]()
    *lines, last = path.read_bytes().split(b"\n") if path.exists() else [b""]
    for number, line in enumerate((*lines, last), 1):
        if (record := record_of(line)) is not None:
            records.append(record)
        elif line and number <= len(lines):  # the last line is cut short by a crash, or being written
            warn(f"{path}: line {number} was altered or cut short; it is left out")
    return records


@cache
def warn(line: str) -> None:
    """Print a line for people, once."""
    say(line)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file, an empty one where there is no file; InputError where it holds none."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{str(path)!r} holds a {type(value).__name__}; it must be an object")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace `path` by one JSON object, and make its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, json.dumps(value, indent=1).encode())


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Replace `path` by these records, a line each."""
    replace(path, b"".join(map(line_of, records)))
