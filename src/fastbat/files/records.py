"""Records on disk: lines of JSON that are added one by one, and objects of JSON."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastbat.errors import InputError
from fastbat.files.safe import replacing


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line of JSON to `path`; a line that a crash cut short before it is ended first."""
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
        torn = size > 0 and file.read(1) != b"\n"
        file.write(b"\n" * torn + json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines; lines cut short by a crash are left out."""
    records = list[dict[str, Any]]()
    for line in path.read_text().splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Replace `path` by these records, a line each."""
    with replacing(path) as file:
        file.write("".join(json.dumps(record) + "\n" for record in records).encode())


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
    with replacing(path) as file:
        file.write(json.dumps(value, indent=1).encode())
