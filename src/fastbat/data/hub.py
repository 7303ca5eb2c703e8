"""Images through Hugging Face `datasets`: a hub name, or a local folder of parquet files; decoded once, then cached.

The cache holds uint8 arrays keyed by what they were decoded from: the SHA-256 of the local files, or the
fingerprint `datasets` gives a hub data set. FASTBAT_CACHE names its folder (~/.cache/fastbat unless set).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastbat.data.images import Images, fingerprint
from fastbat.errors import InputError
from fastbat.files import replacing
from fastbat.progress import bar

SPLITS = ("train", "test")


def load_hub(name: str, hub: str, *, image: str, label: str) -> Callable[[Path | None], tuple[Images, Images]]:
    """Return a loader of the data set `hub`, with its columns, or of parquet files NAME-SPLIT*.parquet in a folder."""

    def load(data_dir: Path | None) -> tuple[Images, Images]:
        train, test = (
            _from_hub(hub, split, image, label) if data_dir is None else _from_folder(data_dir, name, split, label)
            for split in SPLITS
        )
        return train, test

    return load


def _from_folder(folder: Path, name: str, split: str, label: str) -> Images:
    if not folder.is_dir():
        raise InputError(f"data_dir {str(folder)!r} is not a folder; it should hold {name}-{split}.parquet")
    files = sorted(folder.glob(f"{name}-{split}*.parquet")) or sorted(folder.glob(f"**/{split}-*.parquet"))
    if not files:
        raise InputError(
            f"no {name}-{split}*.parquet or {split}-*.parquet in {str(folder)!r}; "
            "put the data set's parquet files there, or leave data_dir out to download it"
        )
    key = hashlib.sha256()
    for file in files:
        key.update(file.read_bytes())
    return _cached(f"{key.hexdigest()}-{split}", lambda: _parquet(files), None, label)


def _parquet(files: list[Path]) -> Any:
    import datasets

    try:
        with _quiet(datasets):
            return datasets.Dataset.from_parquet([str(f) for f in files], keep_in_memory=True)
    except Exception as error:
        raise InputError(f"{files[0]} cannot be read as parquet ({_first_line(error)}); copy it anew") from error


def _from_hub(hub: str, split: str, image: str, label: str) -> Images:
    import datasets

    try:
        with _quiet(datasets):
            dataset = datasets.load_dataset(hub, split=split)
    except Exception as error:
        raise InputError(
            f"{hub} cannot be loaded from the Hugging Face hub ({_first_line(error)}); "
            "with no network, put its parquet files into a folder and name it with --data-dir"
        ) from error
    return _cached(f"{hub.replace('/', '--')}-{dataset._fingerprint}-{split}", lambda: dataset, image, label)


def _cached(key: str, open_dataset: Callable[[], Any], image: str | None, label: str) -> Images:
    folder = Path(os.environ.get("FASTBAT_CACHE", "~/.cache/fastbat")).expanduser() / f"{key}-{label}"
    if (images := _read(folder)) is None:
        _decode(folder, open_dataset(), image, label)
        images = _read(folder)
    if images is None:
        raise InputError(
            f"the cache in {str(folder)!r} cannot be read back; check its disk, or name another: FASTBAT_CACHE"
        )
    return images


def _read(folder: Path) -> Images | None:
    """Return what lies in the cache; None where it is missing, cut short or altered."""
    try:
        about = json.loads((folder / "images.json").read_text())
        pixels, labels = (torch.from_numpy(np.load(folder / f"{part}.npy")) for part in ("pixels", "labels"))
    except (OSError, ValueError, EOFError):
        return None
    if fingerprint(pixels, labels) != about["fingerprint"]:
        return None
    return Images(pixels, labels, tuple(about["classes"]), about["fingerprint"])


def _decode(folder: Path, dataset: Any, image: str | None, label: str) -> None:
    import datasets

    images = [c for c, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
    image = image or (images[0] if images else "")
    if image not in images or label not in dataset.features:
        raise InputError(f"no image column and {label!r} column among {', '.join(dataset.features)}")
    with bar("decoding images") as show:
        rows = []
        for i, row in enumerate(dataset.select_columns(image)):
            rows.append(np.asarray(row[image].convert("RGB")).transpose(2, 0, 1))
            show(i / len(dataset), f"decoding {len(dataset)} images, once")
    if len({row.shape for row in rows}) != 1:
        raise InputError(f"images of {len({row.shape for row in rows})} sizes in one data set; one size is needed")
    pixels, labels = np.ascontiguousarray(np.stack(rows)), np.array(dataset[label], dtype=np.int64)
    feature = dataset.features[label]
    classes = feature.names if isinstance(feature, datasets.ClassLabel) else [str(c) for c in range(labels.max() + 1)]
    if labels.min() < 0 or labels.max() >= len(classes):
        raise InputError(f"labels {labels.min()}..{labels.max()} with {len(classes)} class names")
    folder.mkdir(parents=True, exist_ok=True)
    for part, array in {"pixels": pixels, "labels": labels}.items():
        with replacing(folder / f"{part}.npy") as file:
            np.save(file, array)
    about = {
        "classes": classes,
        "fingerprint": fingerprint(torch.from_numpy(pixels), torch.from_numpy(labels)),
    }
    with replacing(folder / "images.json") as file:  # last: its presence says that the arrays are whole
        file.write(json.dumps(about).encode())


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
