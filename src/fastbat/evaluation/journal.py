"""What an evaluation has finished, so that one that was interrupted goes on, and one that is shared is put together.

FOLDER/
  .evaluation-KEY-RANK.jsonl                       a line for each attack on a block of images, of one process
  .evaluation-KEY-ATTACK@EPS-BLOCK.safetensors     its adversarial examples, where they are to be saved

KEY is the checksum of everything that the result depends on: weights, images, attacks, seed, precision, batch size. The
files are removed when the evaluation is complete.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fastbat.files import append_record, load_tensors, read_records, save_tensors
from fastbat.processes import rank


class Journal:
    """The finished blocks of the evaluation described by `request`; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, request: Mapping[str, Any]) -> None:
        self.folder = folder
        self.key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:12]
        lines = [record for file in self.files("jsonl") for record in read_records(file)]
        self.done: dict[tuple[str, int], dict[str, Any]] = {(line["job"], line["block"]): line for line in lines}

    def files(self, ending: str) -> list[Path]:
        """Return this evaluation's files."""
        return sorted(self.folder.glob(f".evaluation-{self.key}-*.{ending}")) if self.folder else []

    def add(self, job: str, block: int, line: Mapping[str, Any], examples: Mapping[str, Tensor] | None) -> None:
        """Keep what an attack did to a block, its examples first."""
        record = {"job": job, "block": block, **line}
        self.done[job, block] = record
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if examples is not None:
            save_tensors(self.folder / f".evaluation-{self.key}-{job}-{block}.safetensors", examples, {})
        append_record(self.folder / f".evaluation-{self.key}-{rank()}.jsonl", record)

    def examples(self) -> dict[str, Tensor]:
        """Return the adversarial examples kept: ATTACK@EPS/BLOCK/x, /y and /index."""
        found: dict[str, Tensor] = {}
        for file in self.files("safetensors"):
            job, _, block = file.stem.removeprefix(f".evaluation-{self.key}-").rpartition("-")
            found |= {f"{job}/{block}/{name}": tensor for name, tensor in load_tensors(file)[0].items()}
        return found

    def remove(self) -> None:
        """Forget: the evaluation is complete."""
        for file in [*self.files("jsonl"), *self.files("safetensors")]:
            file.unlink(missing_ok=True)
