"""A data set's splits found where they are stored, and what they are made of, without torch and before any is read."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fastbat.data.cards import DatasetCard, dataset_card
from fastbat.data.columns import Source
from fastbat.data.digits import digits_file
from fastbat.data.encoded import on_disk
from fastbat.data.folders import hidden
from fastbat.data.hub import on_hub
from fastbat.errors import InputError

Find = Callable[[str], Source | None]  # a split by its name, None where it is not there


def content(name: str, data_dir: Path | None) -> str:
    """Return a SHA-256 over what the data set `name` is made of: all its files; of a streamed one names and sizes.

    Data sets of one name with the same give the same images and labels, in the same order. Raises InputError where
    it is not there.
    """
    if name == "digits":
        return hashlib.sha256(digits_file().read_bytes()).hexdigest()
    card = dataset_card(name)
    keys = [source.key(contents=not card.phases) for source in found(name, card, data_dir)]
    return hashlib.sha256(" ".join(keys).encode()).hexdigest()


def found(name: str, card: DatasetCard, data_dir: Path | None) -> list[Source]:
    """Return the training split and the test split; the first alone of a user's own data set that has no other.

    Raises InputError where one is not there, with what was looked for.
    """
    find = finder(name, card, data_dir)
    train, test = find("train"), tests_of(card, find)
    if train is None or (test is None and card.mean):
        raise missing(name, card, data_dir, card.tests[0] if train else "train")
    return [source for source in (train, test) if source]


def finder(name: str, card: DatasetCard, data_dir: Path | None) -> Find:
    """Return what finds a split by its name: in the folder, else on the hub."""
    if data_dir is not None:
        return partial(on_disk, data_dir, name if card.mean else None, card.mixed)
    assert card.hub is not None  # check_source
    return on_hub(card.hub, card.mixed).get


def tests_of(card: DatasetCard, find: Find) -> Source | None:
    """Return the test split, by the first of its names that is there."""
    return next(filter(None, map(find, card.tests)), None)


def missing(name: str, card: DatasetCard, data_dir: Path | None, split: str) -> InputError:
    """Return the error that a split is not there."""
    files = f"{name}-{split}*.parquet" if card.mean else f"{split}*.parquet"
    hint = ", or leave data_dir out to download it" if card.hub and data_dir else ""
    inside = sorted(each.name for each in data_dir.iterdir() if not hidden(each)) if data_dir else []
    there = f", which holds {', '.join(inside[:5])}{', ...' if len(inside) > 5 else ''}" if inside else ""
    where = f"{str(data_dir or card.hub)!r}{there}"
    return InputError(f"no {files} and no {split}/CLASS/*.jpg in {where}; put the data set's files there{hint}")
