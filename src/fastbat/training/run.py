"""A run directory.

RUN/
  config.toml        every setting as resolved: `fastbat train --config RUN/config.toml` repeats the run
  metrics.jsonl      one record an epoch
  best.safetensors   the weights of the epoch with the highest robust validation accuracy
  last.safetensors   the weights of the last finished epoch
  best-ema.safetensors, last-ema.safetensors   with `ema`: the averaged weights of its own best epoch, and of the last
  last.ckpt          what training needs to go on after that epoch (safetensors)
  evaluation.jsonl   one record an evaluation
"""

from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w

from fastbat.errors import InputError, choose
from fastbat.files import read_records, read_toml, replacing
from fastbat.methods import METHODS
from fastbat.models import as_of_now
from fastbat.training.settings import Settings

Checkpoint = Literal["best", "last", "best-ema", "last-ema"]
CHECKPOINTS: tuple[str, ...] = get_args(Checkpoint)
MAY_DIFFER_ON_RESUME = {"device", "data_dir", "workers"}


class Run:
    """The files of one training run."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config, self.metrics = self.path / "config.toml", self.path / "metrics.jsonl"
        self.state, self.evaluations = self.path / "last.ckpt", self.path / "evaluation.jsonl"

    def weights(self, which: str) -> Path:
        """Return the file of the weights `which`, one of CHECKPOINTS."""
        return self.path / f"{choose('checkpoint', which, CHECKPOINTS)}.safetensors"

    def check_free(self, config: dict[str, Any]) -> None:
        """Raise InputError where a new run would write over something, whatever its settings."""
        if self.path.exists() and not (self.path.is_dir() and all(f.name[0] == "." for f in self.path.iterdir())):
            raise InputError(f"{str(self.path)!r} already holds something; name another --out, or go on with --resume")

    def check_same(self, config: dict[str, Any]) -> None:
        """Raise InputError where the run was started with other settings than `config`."""
        before = self.read_config()
        if names := changed(before, config):
            was, now = before.get(names[0]), config.get(names[0])
            raise InputError(
                f"{str(self.path)!r} was started with {names[0]} = {was}, not {now}; "
                "resume with its own settings, or name another --out"
            )
        if self.metrics.exists() and read_records(self.metrics) and not self.state.exists():
            raise InputError(
                f"{str(self.path)!r} has finished epochs but no {self.state.name} to go on from; name another --out"
            )

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the settings."""
        with replacing(self.config) as file:
            file.write(tomli_w.dumps(config).encode())

    def read_config(self) -> dict[str, Any]:
        """Return the settings as this version writes them; InputError where there are none or they are not TOML."""
        if not self.config.exists():
            raise InputError(f"no run to go on with: {str(self.config)!r} does not exist; name the run with --out")
        return as_of_now(read_toml(self.config))


def changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the names of the settings of a run that are not the same in both.

    One that `before` lacks, such as one that an older version did not have, counts as its default.
    """
    parts = (METHODS.get(now["method"]), Settings)
    known = {f.name: f.default for part in parts if part for f in fields(part)}  # type: ignore[arg-type]
    follows = {name for name in known.keys() - before.keys() if known[name] is None}  # from others, which are compared
    return [name for name in different(known | before, now) if name in {*before, *now} - follows]


def different(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the names of the settings that are not the same in both, those of the machine left aside."""
    names = sorted((before.keys() | now.keys()) - MAY_DIFFER_ON_RESUME)
    return [name for name in names if before.get(name) != now.get(name)]
