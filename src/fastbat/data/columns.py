"""A data set in columns: which one holds the pictures, which the labels, and what the labels are called.

The columns are those named; else the first that says it holds images, or is called image or img, and label, labels or
fine_label. What the columns say of themselves is in the schema's metadata, as the library `datasets` writes it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from fastbat.data.picture import reading
from fastbat.errors import InputError

IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img"), ("label", "labels", "fine_label")
FILES = (types.is_binary, types.is_large_binary, types.is_string, types.is_large_string)  # bytes, or a path
PART = 2**24  # bytes in memory
LISTS = (types.is_list, types.is_large_list, types.is_fixed_size_list)


class Rows(Protocol):
    """Stored pictures in their order: (name for people, what `picture` takes)."""

    def __iter__(self) -> Iterator[tuple[str, Any]]: ...


class Indexed(Rows, Protocol):
    """Stored pictures that are found one by one, too."""

    def __getitem__(self, row: int) -> tuple[str, Any]: ...


@dataclass(frozen=True)
class Columns:
    """A split as it is stored."""

    rows: Rows
    labels: NDArray[np.int64]  # (N,)
    classes: tuple[str, ...]  # their names; empty where they have none


class Source(Protocol):
    """A split that has been found."""

    @property
    def mixed(self) -> bool:
        """Whether its images are put into another order."""

    def key(self, contents: bool) -> str:
        """Return a SHA-256 over what it is made of."""

    def columns(self, image: str | None, label: str | None) -> Columns:
        """Return the columns of these names, or the usual ones."""


def content_key(made_of: str, root: Path, files: Iterable[Path], contents: bool) -> str:
    """Return a SHA-256 over `made_of`, names below `root` and sizes of the files, and their `contents`."""
    digest = hashlib.sha256(made_of.encode())
    for file in files:
        with reading(repr(str(file)), "copy it anew"):
            named = f"\n{file.relative_to(root)} {file.stat().st_size}"
            digest.update(named.encode(errors="surrogateescape"))
            if contents:
                with file.open("rb") as opened:
                    for part in iter(lambda: opened.read(PART), b""):
                        digest.update(part)
    return digest.hexdigest()


def image_column(schema: pa.Schema, wanted: str | None, where: str) -> str:
    """Return the name of the column of pictures; InputError where there is none."""
    said = [name for name, feature in _features(schema).items() if feature.get("_type") == "Image"]
    name = _column("image", wanted, (*said, *IMAGE_COLUMNS), schema.names, where)
    if not _may_be_pictures(kind := schema.field(name).type):
        raise InputError(f"column {name!r} of {where} holds no images but {kind}; name the one: --image-column")
    return name


def label_column(schema: pa.Schema, wanted: str | None, where: str) -> str:
    """Return the name of the column of labels; InputError where there is none."""
    name = _column("label", wanted, LABEL_COLUMNS, schema.names, where)
    if not types.is_integer(kind := schema.field(name).type):
        raise InputError(f"column {name!r} of {where} holds {kind}, not whole numbers; number the classes from 0")
    return name


def class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """Return the names of the classes, in the order of their numbers; none where the schema has none."""
    return tuple(_features(schema).get(label, {}).get("names") or ())


def whole_numbers(column: pa.ChunkedArray, name: str, where: str) -> NDArray[np.int64]:
    """Return the labels; InputError where one is missing."""
    if column.null_count:
        first = column.is_null().to_pylist().index(True)
        count = f"{column.null_count} of {len(column)} rows"
        raise InputError(f"column {name!r} of {where} has no label in {count}, the first in row {first}; take them out")
    return np.asarray(column, dtype=np.int64)


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    found = about.get("info", {}).get("features") or {}
    return {name: feature for name, feature in found.items() if isinstance(feature, dict)}


def _column(what: str, wanted: str | None, usual: Iterable[str], found: list[str], where: str) -> str:
    for name in usual if wanted is None else (wanted,):
        if name in found:
            return name
    raise InputError(f"no {wanted or what} column among {', '.join(found)} of {where}; name the one: --{what}-column")


def _may_be_pictures(kind: pa.DataType) -> bool:
    """Say whether a column of this type may hold pictures: files, paths, or nested lists of whole numbers."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if types.is_struct(kind):
        return "bytes" in kind.names
    if any(is_file(kind) for is_file in FILES):
        return True
    depth = 0
    while any(is_list(kind) for is_list in LISTS):
        kind, depth = kind.value_type, depth + 1
    return depth in (2, 3) and bool(types.is_integer(kind))
