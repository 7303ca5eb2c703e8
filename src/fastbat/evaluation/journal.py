"""What an evaluation has finished, so that one that was interrupted goes on, and one that is shared is put together.

FOLDER/
  .evaluation-KEY-RANK.jsonl                       a line for each attack on a block of images, of one process
  .evaluation-KEY-ATTACK@EPS-BLOCK.safetensors     its adversarial examples, where they are to be saved

KEY is the checksum of everything that the result depends on: weights, outputs, images, attacks, seed, precision, batch
size. The files are removed when the evaluation is complete; what is never gone on with may be deleted. A block
whose line or examples were cut short or altered is made anew.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor

from fastbat.errors import InputError
from fastbat.files import append_record, load_tensors, locked, read_records, remove_beside, save_tensors
from fastbat.runtime.processes import agreed, rank


class Journal:
    """The finished blocks of the evaluation described by `request`; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, request: Mapping[str, Any]) -> None:
        key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:12]
        self.folder, self.name, self.meta = folder, f".evaluation-{agreed(key)}", {"settings": dict(request)}
        self.saved = False  # all adversarial examples, in the file that was asked for
        self.done: dict[tuple[str, int], dict[str, Any]] = {}

    def read(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the finished blocks of all processes, those that are whole."""
        return {(line["job"], line["block"]): line for line in self.lines() if self.whole(line)}

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of all processes."""
        files = sorted(self.folder.glob(f"{self.name}-*.jsonl")) if self.folder else []
        return [record for file in files for record in read_records(file)]

    def whole(self, line: Mapping[str, Any]) -> bool:
        """Say whether the examples that were kept of a block, if any were, can be read, or are saved already."""
        return self.saved or not line.get("examples") or readable(self.file(line["job"], line["block"]), {})

    def add(self, job: str, block: int, line: Mapping[str, Any], examples: Mapping[str, Tensor] | None) -> None:
        """Keep what an attack did to a block, its examples first."""
        record = {"job": job, "block": block, **line} | ({} if examples is None else {"examples": True})
        self.done[job, block] = record
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if examples is not None:
            save_tensors(self.file(job, block), examples, {})
        append_record(self.folder / f"{self.name}-{rank()}.jsonl", record)

    def file(self, job: str, block: int) -> Path:
        """Return the file of the examples of a job on a block."""
        assert self.folder is not None
        return self.folder / f"{self.name}-{job}-{block}.safetensors"

    def examples(self) -> dict[str, Tensor]:
        """Return the adversarial examples kept, of all processes: ATTACK@EPS/BLOCK/x, /y and /index."""
        found: dict[str, Tensor] = {}
        for job, block in sorted(self.read()):
            if self.file(job, block).exists():
                tensors = load_tensors(self.file(job, block))[0]
                found |= {f"{job}/{block}/{name}": tensor for name, tensor in tensors.items()}
        return found

    def save(self, file: Path) -> None:
        """Write the adversarial examples of all processes, unless they are there."""
        if not self.saved:
            file.parent.mkdir(parents=True, exist_ok=True)
            remove_beside(file)
            save_tensors(file, self.examples(), self.meta)

    def check_new(self, file: Path) -> None:
        """Raise InputError where there is a file already, but for what this evaluation wrote and was interrupted."""
        if not file.exists():
            return
        self.saved = bool(self.lines()) and readable(file, self.meta)
        if not self.saved:
            raise InputError(f"{str(file)!r} exists already; name another file")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold this evaluation for this process, or for the group of them; InputError where others are making it."""
        folder = self.folder if rank() == 0 else None
        with locked(folder, "making this evaluation", f"{self.name}.lock") if folder else nullcontext():
            self.done = self.read()
            yield

    def remove(self) -> None:
        """Forget: the evaluation is complete."""
        for begins in (self.name, f".{self.name}"):  # the second: beside one of them, where a process was killed
            files = list(self.folder.glob(f"{begins}*")) if self.folder else []
            files.sort(key=lambda file: file.suffix == ".jsonl")  # the lines go last: they say that it was begun
            for file in files:
                file.unlink(missing_ok=True)


def readable(file: Path, meta: Mapping[str, Any]) -> bool:
    """Say whether a file of tensors can be read, and has this metadata."""
    try:
        return bool(load_tensors(file)[1] == json.loads(json.dumps(meta)))
    except InputError:
        return False
