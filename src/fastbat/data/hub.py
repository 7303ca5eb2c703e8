"""A data set of the Hugging Face hub, downloaded by the library `datasets` and kept where it keeps things (HF_HOME)."""

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbat.data.columns import Columns, class_names, image_column, label_column, whole_numbers
from fastbat.data.picture import reading
from fastbat.errors import InputError

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC)


@dataclass(frozen=True)
class HubRows:
    """A column of a `datasets.Dataset`."""

    dataset: Any
    column: str

    def __getitem__(self, row: int) -> tuple[str, Any]:
        stored = self.dataset[row][self.column]
        path = stored.get("path") if isinstance(stored, dict) else None
        return repr(path) if path else f"the image in row {row}", stored

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return map(self.__getitem__, range(len(self.dataset)))


@dataclass(frozen=True)
class HubSplit:
    """A split of the data set `hub`."""

    dataset: Any  # datasets.Dataset
    hub: str
    mixed: bool

    def key(self, contents: bool) -> str:
        """Return a SHA-256 over the fingerprint that `datasets` gives a download."""
        return hashlib.sha256(f"{self.mixed} {self.dataset._fingerprint}".encode()).hexdigest()

    def columns(self, image: str | None, label: str | None) -> Columns:
        """Return pictures and labels; InputError where there are none."""
        import datasets

        schema, where = self.dataset.features.arrow_schema, repr(self.hub)
        image, label = image_column(schema, image, where), label_column(schema, label, where)
        labels = self.dataset.select_columns(label).with_format("arrow")[:].column(label)
        rows = self.dataset.select_columns(image)
        if isinstance(rows.features[image], datasets.Image):
            rows = rows.cast_column(image, datasets.Image(decode=False))
        return Columns(HubRows(rows, image), whole_numbers(labels, label, where), class_names(schema, label, where))


def on_hub(hub: str, mixed: bool) -> dict[str, HubSplit]:
    """Return the splits of the data set `hub`, downloaded where they are not yet."""
    if Path(hub).exists():
        raise InputError(f"{hub!r} lies on this disk; read it with --dataset folder (or parquet) --data-dir {hub}")
    import datasets

    with _quiet(), reading(f"the hub's {hub}", "with no network, put its parquet files into a folder: --data-dir"):
        try:
            splits = datasets.load_dataset(hub)
        except Exception as error:
            if why := _unwritable(error):
                place = f"{str(why.filename)!r}: {why.strerror}"
                raise InputError(
                    f"{hub} cannot be kept in {place}; name a folder that can be written: HF_HOME"
                ) from why
            raise
    return {split: HubSplit(rows, hub, mixed) for split, rows in splits.items()}


def _unwritable(error: BaseException | None) -> OSError | None:
    """Return the cause of `error` that is a folder without rights or room, if there is one."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars of `datasets`."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
