"""The code of a page, in order, and what it takes to follow it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[1] / "docs"


class Code(NamedTuple):
    """A block of code of a page."""

    language: str
    file: str  # the file that a line of its own names above it, "" if there is none
    text: str


def code(page: Path) -> Iterator[Code]:
    """Yield the blocks of code of a page; a file is named until the next heading, for it may be changed in parts."""
    file = ""
    for match in re.finditer(r"^`([^`\n]+)`:$|^#+ .*$|^```(\w+)\n((?:.|\n)*?)^```$", page.read_text(), flags=re.M):
        if match[2]:
            yield Code(match[2], file, match[3])
        else:
            file = match[1] or ""


def patched(text: str, diff: str) -> str:
    """Return `text` with the lines that `diff` adds; the lines around them are found there once, together."""
    before = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] == " ")
    after = "".join(line[1:] for line in diff.splitlines(keepends=True))
    assert text.count(before) == 1, before
    return text.replace(before, after)
