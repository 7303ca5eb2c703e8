"""Parquet files with a column of pictures and one of labels, read as they are.

Only these two columns are read: others may be there, and may differ from file to file. No copy is made but for a
streamed data set, whose pictures must be found one by one.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from reprlib import repr as shortened
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastbat.data.columns import Columns, class_names, content_key, image_column, label_column, whole_numbers
from fastbat.data.picture import reading
from fastbat.errors import InputError
from fastbat.files import remove_beside, replacing
from fastbat.progress import bar

AT_ONCE = 64  # rows in memory
DAMAGED = "copy it again"
COPY = "delete it: it is a copy, and is made again"
VERSION = 2  # of the copies
IDLE = 3600  # seconds after which nobody writes to a file of the cache any more


@dataclass(frozen=True)
class Shards:
    """A column of pictures in parquet files, from the first row to the last."""

    files: tuple[Path, ...]
    counts: tuple[int, ...]  # rows of each file
    column: str

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        values = (value for batch in self.batches() for value in batch.column(0))
        return (self.item(row, value) for row, value in enumerate(values))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the column in parts."""
        for file in self.files:
            with reading(repr(str(file)), DAMAGED), file.open("rb") as opened:
                for batch in pq.ParquetFile(opened).iter_batches(AT_ONCE, columns=[self.column]):
                    yield batch.select([self.column])

    def item(self, row: int, value: pa.Scalar) -> tuple[str, Any]:
        """Return the name of a row, for people, and what it holds; a path without a picture is nothing."""
        file = int(np.searchsorted(np.cumsum(self.counts), row, side="right"))
        stored = value.as_py()
        path = stored.get("path") if isinstance(stored, dict) else None
        stored = stored["bytes"] if isinstance(stored, dict) else stored
        named = f" ({shortened(path)})" if path else ""
        return f"row {row - sum(self.counts[:file])}{named} of {str(self.files[file])!r}", stored


@dataclass(frozen=True)
class Copied:
    """The pictures of `shards`, copied to a file in which each is found at once, next to its checksum."""

    shards: Shards
    file: Path

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return map(self.__getitem__, range(sum(self.shards.counts)))

    def __getitem__(self, row: int) -> tuple[str, Any]:
        values, checks = _mapped(self.file).columns
        with reading(where := repr(str(self.file)), COPY):
            name, stored = self.shards.item(row, values[row])
            if checks[row].as_py() != _check(stored):
                raise InputError(f"row {row} of {where} was altered; {COPY}")
        return name, stored


@cache
def _mapped(file: Path) -> pa.Table:
    with reading(repr(str(file)), COPY):
        return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _check(stored: Any) -> int:
    """Return the CRC-32 of what a row holds."""
    return crc32(stored if isinstance(stored, bytes) else repr(stored).encode())


def copied(shards: Shards, folder: Path) -> Copied:
    """Return `shards` copied into `folder`, once; a file that was replaced since has another ctime, and is copied."""
    stats = [(str(file.resolve()), file.stat()) for file in shards.files]
    about = [(name, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in stats]
    file = folder / f"{hashlib.sha256(repr((VERSION, shards.column, about)).encode()).hexdigest()}.arrow"
    if not file.exists():
        remove_beside(file, IDLE)
        batches, count, done = shards.batches(), sum(shards.counts), 0
        first = next(batches)
        schema = first.schema.append(pa.field("check", pa.int64()))
        with bar("copying tables") as show, replacing(file) as out, pa.ipc.new_file(out, schema) as writer:
            for batch in chain((first,), batches):
                checks = pa.array([_check(shards.item(0, value)[1]) for value in batch.column(0)], pa.int64())
                writer.write_batch(pa.record_batch([batch.column(0), checks], schema=schema))
                done += len(batch)
                show(done / count, f"copying {count} images, once")
    return Copied(shards, file)


@dataclass(frozen=True)
class Tables:
    """A split in parquet files."""

    root: Path
    files: tuple[Path, ...]
    mixed: bool

    def key(self, contents: bool) -> str:
        """Return a SHA-256 over names and sizes of the files, and `contents`."""
        return content_key(f"{self.mixed} ", self.root, self.files, contents)

    def columns(self, image: str | None, label: str | None) -> Columns:
        """Return pictures and labels; InputError where a file lacks one, or names the classes otherwise."""
        files, labels, names = list[Path](), list[NDArray[np.int64]](), list[tuple[str, ...]]()
        for file in self.files:
            where = repr(str(file))
            with reading(where, DAMAGED), file.open("rb") as opened:
                table = pq.ParquetFile(opened)
                if not table.metadata.num_rows:
                    continue
                image = image_column(table.schema_arrow, image, where)
                label = label_column(table.schema_arrow, label, where)
                labels.append(whole_numbers(table.read(columns=[label]).column(label), label, where))
                names.append(class_names(table.schema_arrow, label, where))
                files.append(file)
            if names[-1] != names[0]:
                raise InputError(f"{where} names other classes than {str(files[0])!r}; give them the same")
        if not files or image is None:
            raise InputError(
                f"{', '.join(repr(str(file)) for file in self.files)} holds no rows; fill it or take it out"
            )
        shards = Shards(tuple(files), tuple(map(len, labels)), image)
        return Columns(shards, np.concatenate(labels), names[0])


def tables(folder: Path, split: str, name: str | None, mixed: bool) -> Tables | None:
    """Return the split in the files [PREFIX-]SPLIT*.parquet: of the data set `name`, else of the only one there."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        shown = not any(part.startswith(".") for part in file.relative_to(folder).parts)
        if shown and (match := re.fullmatch(rf"(?:(.+)[-_])?{split}(?:[-_.].*)?\.parquet", file.name)):
            found.setdefault(match[1] or "", []).append(file)
    if name is None and len(found) > 1:
        raise InputError(f"{str(folder)!r} holds several data sets ({', '.join(found)}); give each its own folder")
    fits = [prefix for prefix in found if name is None or prefix in (name, "") or prefix.startswith(f"{name}-")]
    if not fits:
        return None
    return Tables(folder, tuple(found[max(fits, key=lambda prefix: (prefix == name, len(prefix)))]), mixed)
