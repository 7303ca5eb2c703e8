"""What lies on disk: files written beside their place and renamed onto it, weights with a checksum, lines of JSON.

Nothing is pickled: weights and optimizer state are safetensors, everything else is JSON or TOML.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from reprlib import repr as shortened
from secrets import token_hex
from typing import IO, Any

from safetensors import SafetensorError, safe_open

from fastbat.errors import InputError
from fastbat.lazy import Tensor, torch

BACKSLASH = r"a backslash within double quotes starts an escape: write C:/data, or 'C:\data' in single quotes"


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


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write `tensors` and the JSON metadata `about`, with a SHA-256 over both, to a safetensors file."""
    from safetensors.torch import save

    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(about, sort_keys=True)
    with replacing(path) as file:
        file.write(in_order(save(stored, {"fastbat": text, "sha256": checksum(stored, text)})))


def in_order(data: bytes) -> bytes:
    """Return the safetensors file `data` with its header sorted by name: equal weights make equal files."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and metadata of a file of `save_tensors`, on the CPU.

    Raises InputError where it is missing, truncated, altered, or not one of ours.
    """
    tensors, meta = read_safetensors(path)
    if "fastbat" not in meta:
        raise InputError(f"{str(path)!r} has no fastbat metadata; only checkpoints written by fastbat say their model")
    return tensors, json.loads(meta["fastbat"])


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and metadata of any safetensors file, on the CPU; one of ours must match its checksum.

    Raises InputError where it is missing, truncated or altered.
    """
    check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator of its own)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{str(path)!r} is not a whole safetensors file ({error}); copy it again") from error
    if "fastbat" in meta and meta.get("sha256") != checksum(tensors, meta["fastbat"]):
        raise InputError(f"{str(path)!r} does not match its checksum: it was altered or damaged; copy it again")
    return tensors, meta


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, without its tensors; nothing where there is none to read."""
    with path.open("rb") as file, suppress(ValueError, OverflowError, AttributeError):
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return dict(header.get("__metadata__", {}))
    return {}


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


def read_toml(path: Path) -> dict[str, Any]:
    """Return the table of a TOML file; raises InputError where it is missing, not TOML, or a path in it is garbled."""
    text = ""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        table = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is not text in UTF-8; save it as UTF-8") from error
    except ValueError as error:
        at = re.search(r"at line (\d+)", str(error))
        escapes = at is not None and "\\" in text.split("\n")[int(at[1]) - 1]
        raise InputError(f"{str(path)!r} is not TOML: {error}{f'; {BACKSLASH}' if escapes else ''}") from error
    for value in strings(table):
        if re.search(r"[\x00-\x1f]", value):
            raise InputError(f"{value!r} in {str(path)!r} holds a control character; {BACKSLASH}")
    return table


def strings(value: Any) -> Iterator[str]:
    """Yield every string within a TOML value."""
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(each)


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


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Replace `path` by these records, a line each."""
    with replacing(path) as file:
        file.write("".join(json.dumps(record) + "\n" for record in records).encode())


def checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of `tensors` and over `text`, in hexadecimal."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
