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

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from fastbat.errors import InputError, choose
from fastbat.files import locked, read_records, read_toml, replacing

CHECKPOINTS = ("best", "last", "best-ema", "last-ema")
MAY_DIFFER_ON_RESUME = {"device", "data_dir", "workers"}


@dataclass(frozen=True)
class Run:
    """The files of one training run."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting, as TOML."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """One record an epoch, as lines of JSON."""
        return self.path / "metrics.jsonl"

    @property
    def state(self) -> Path:
        """What training needs to go on."""
        return self.path / "last.ckpt"

    @property
    def evaluations(self) -> Path:
        """One record an evaluation, as lines of JSON."""
        return self.path / "evaluation.jsonl"

    def weights(self, which: str) -> Path:
        """Return the file of the weights `which`, one of CHECKPOINTS."""
        return self.path / f"{choose('checkpoint', which, CHECKPOINTS)}.safetensors"

    def check_free(self, config: Mapping[str, Any]) -> None:
        """Raise InputError where a new run would write over something, whatever its settings."""
        if self.path.exists() and (not self.path.is_dir() or any(f.name != ".lock" for f in self.path.iterdir())):
            raise InputError(f"{str(self.path)!r} already holds something; name another --out, or go on with --resume")

    def check_same(self, config: Mapping[str, Any]) -> None:
        """Raise InputError where the run was started with other settings than `config`."""
        before = self.read_config()
        for name in sorted((before.keys() | config.keys()) - MAY_DIFFER_ON_RESUME):
            if before.get(name) != config.get(name):
                raise InputError(
                    f"{str(self.path)!r} was started with {name} = {before.get(name)}, not {config.get(name)}; "
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
        """Return the settings; raises InputError where there are none or they are not TOML."""
        if not self.config.exists():
            raise InputError(f"no run to go on with: {str(self.config)!r} does not exist; name the run with --out")
        return read_toml(self.config)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the run for this process alone; raises InputError where another process trains in it."""
        return locked(self.path, "training")


def weights_of(target: Path | str, checkpoint: str) -> Path:
    """Return the `checkpoint`, one of CHECKPOINTS, of a run directory; a file is itself."""
    target = Path(target)
    return Run(target).weights(checkpoint) if target.is_dir() else target
