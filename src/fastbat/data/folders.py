"""Folders of pictures, a folder a class: found and listed.

    SPLIT/CLASS/**/PICTURE    by the endings of the formats that are read; classes are sorted by name, as text
    .NAME                     hidden, and left out at any depth

What is left out is counted in one line.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastbat.data.columns import Columns, content_key
from fastbat.data.picture import endings, reading
from fastbat.errors import InputError
from fastbat.progress import say

HIDDEN, LINKED, OUTSIDE = "hidden (a leading dot)", "linked folders", "outside of the class folders"


@dataclass(frozen=True)
class Files:
    """Pictures that are files of their own."""

    paths: tuple[Path, ...]

    def __getitem__(self, row: int) -> tuple[str, str]:
        return repr(str(self.paths[row])), str(self.paths[row])

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return map(self.__getitem__, range(len(self.paths)))


@dataclass(frozen=True)
class ClassFolders:
    """A split in folders of classes."""

    root: Path
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]  # that labels number, perhaps those of another split

    mixed = True  # the files are sorted by class

    def key(self, contents: bool) -> str:
        """Return a SHA-256 over classes, names and sizes of the files, and `contents`."""
        return content_key(f"{self.mixed} {self.classes}", self.root, self.files, contents)

    def columns(self, image: str | None, label: str | None) -> Columns:
        """Return pictures and labels; InputError where columns are named, for there are none."""
        for what, name in (("image_column", image), ("label_column", label)):
            if name is not None:
                raise InputError(f"{what} is {name!r}, but {str(self.root)!r} holds folders of classes; leave it out")
        return Columns(Files(self.files), np.array(self.labels, np.int64), self.classes)


def class_folders(root: Path, split: str) -> ClassFolders | None:
    """Return the split in `root`, if it is there in folders of classes; these are numbered as those of train are."""
    classes = folders(root / "train") or folders(root / split)
    if not folders(root / split):
        return None
    left_out, files, labels = Counter[str](), list[Path](), list[int]()
    for inner in (root / split).iterdir():
        if not inner.is_dir() or hidden(inner):
            left_out[HIDDEN if hidden(inner) else OUTSIDE] += 1
    for name in folders(root / split):
        folder, others = root / split / name, Counter[str]()
        inside = pictures(folder, others)
        if name not in classes:
            raise InputError(f"{str(folder)!r} is no class of the training images; take it out")
        if not inside:
            others_there = counted(" but ", others)
            remedy = "convert them or take it out" if others_there else "take it out"
            raise InputError(f"{str(folder)!r} holds no images{others_there}; {remedy}")
        files += inside
        labels += [classes.index(name)] * len(inside)
        left_out += others
    if left_out:
        say(f"{str(root / split)!r}: left out{counted(' ', left_out)}")
    return ClassFolders(root, tuple(files), tuple(labels), tuple(classes))


def folders(folder: Path) -> list[str]:
    """Return the names of the folders inside, sorted as text; InputError where one is a link to nowhere."""
    inside = [inner for inner in folder.iterdir() if not hidden(inner)] if folder.is_dir() else []
    for inner in inside:
        if inner.is_symlink() and not inner.exists():
            raise InputError(f"{str(inner)!r} is a link to {str(inner.readlink())!r}, which is not there; fix it")
    return sorted(inner.name for inner in inside if inner.is_dir())


def pictures(folder: Path, left_out: Counter[str]) -> list[Path]:
    """Return the pictures below `folder`, sorted; count what else is there."""
    found = list[Path]()
    with reading(repr(str(folder)), "take it out"):
        for where, inner, names in os.walk(folder, onerror=_fail):
            left_out[HIDDEN] += sum(name.startswith(".") for name in (*inner, *names))
            inner[:] = [name for name in inner if not name.startswith(".")]
            left_out[LINKED] += sum(Path(where, name).is_symlink() for name in inner)
            files = [Path(where, name) for name in names if not name.startswith(".")]
            read = [file for file in files if file.suffix.lower() in endings()]
            found += read
            left_out.update(file.suffix.lower() or "no ending" for file in set(files).difference(read))
    return sorted(found)


def _fail(error: OSError) -> None:
    raise error


def hidden(path: Path) -> bool:
    """Say whether a name has a leading dot."""
    return path.name.startswith(".")


def counted(before: str, kinds: Counter[str]) -> str:
    """Return `before` and the counts of files by their kind, commonest first; nothing where there are none."""
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common() if count)
    return found and before + found
