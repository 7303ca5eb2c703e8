"""A data set in columns: which one holds the pictures, which the labels, and what the labels are called.

The columns are those named; else the first that says it holds images, or is called image or img, and label, labels or
fine_label. What the columns say of themselves is in the schema's metadata, as the library `datasets` writes it.
"""

import hashlib
import json
import re
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
FILE, TEXT = r"(large_)?binary|binary_view|fixed_size_binary\[\d+\]", r"(large_)?string|string_view"  # types by name
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
        with reading(repr(str(file)), "copy it again"):
            named = f"\n{file.relative_to(root)} {file.stat().st_size}"
            digest.update(named.encode(errors="surrogateescape"))
            if contents:
                with file.open("rb") as opened:
                    for part in iter(lambda: opened.read(PART), b""):
                        digest.update(part)
    return digest.hexdigest()


def image_column(schema: pa.Schema, wanted: str | None, where: str) -> str:
    """Return the name of the column of pictures; InputError where there is none."""
    said = [name for name, feature in _features(schema, where).items() if feature.get("_type") == "Image"]
    name = _column("image", wanted, (*said, *IMAGE_COLUMNS), schema.names, where)
    if re.fullmatch(TEXT, str(kind := _stored(schema.field(name).type))):
        raise InputError(
            f"column {name!r} of {where} holds text, such as a path or base64; store the bytes of the image files"
        )
    if not _may_be_pictures(kind):
        raise InputError(f"column {name!r} of {where} holds no images but {kind}; name the one: --image-column")
    return name


def label_column(schema: pa.Schema, wanted: str | None, where: str) -> str:
    """Return the name of the column of labels; InputError where there is none."""
    name = _column("label", wanted, LABEL_COLUMNS, schema.names, where)
    if not types.is_integer(kind := schema.field(name).type):
        raise InputError(f"column {name!r} of {where} holds {kind}, not whole numbers; number the classes from 0")
    return name


def class_names(schema: pa.Schema, label: str, where: str) -> tuple[str, ...]:
    """Return the names of the classes, in the order of their numbers; none where the schema has none."""
    names = _features(schema, where).get(label, {}).get("names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _garbled(where, f"the names of {label!r} are no list of texts")
    return tuple(names)


def whole_numbers(column: pa.ChunkedArray, name: str, where: str) -> NDArray[np.int64]:
    """Return the labels; InputError where one is missing."""
    if column.null_count:
        first = column.is_null().to_pylist().index(True)
        count = f"{column.null_count} of {len(column)} rows"
        raise InputError(f"column {name!r} of {where} has no label in {count}, the first in row {first}; take them out")
    return np.asarray(column, dtype=np.int64)


def _features(schema: pa.Schema, where: str) -> dict[str, dict[str, Any]]:
    """Return what the library `datasets` wrote of each column; InputError where that is garbled."""
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")) or {}
        found = (about.get("info") or {}).get("features") or {}
        return {name: feature for name, feature in found.items() if isinstance(feature, dict)}
    except (ValueError, RecursionError) as error:
        raise _garbled(where, str(error)) from error
    except AttributeError as error:
        raise _garbled(where, "it has another form than `datasets` writes") from error


def _garbled(where: str, why: str) -> InputError:
    return InputError(f"the metadata 'huggingface' of {where} is garbled ({why}); write the table again without it")


def _column(what: str, wanted: str | None, usual: Iterable[str], found: list[str], where: str) -> str:
    for name in usual if wanted is None else (wanted,):
        if (count := found.count(name)) > 1:
            raise InputError(f"{where} has {count} columns called {name!r}; rename all but one")
        if count:
            return name
    raise InputError(f"no {wanted or what} column among {', '.join(found)} of {where}; name the one: --{what}-column")


def _stored(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a column, whatever they are encoded or wrapped as."""
    if isinstance(kind, pa.BaseExtensionType):
        return _stored(kind.storage_type)
    return _stored(kind.value_type) if types.is_dictionary(kind) else kind


def _may_be_pictures(kind: pa.DataType) -> bool:
    """Say whether a column of this type may hold pictures: files, alone or next to a path, or nested whole numbers."""
    if types.is_struct(kind):
        return "bytes" in kind.names and re.fullmatch(f"{FILE}|null", str(kind.field("bytes").type)) is not None
    if re.fullmatch(FILE, str(kind)):
        return True
    depth = 0
    while any(is_list(kind) for is_list in LISTS):
        kind, depth = kind.value_type, depth + 1
    return depth in (2, 3) and bool(types.is_integer(kind))
