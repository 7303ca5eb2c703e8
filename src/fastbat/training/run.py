"""A run directory.

RUN/
  config.toml        the settings, and [resolved]: what follows from them; `fastbat train --config` repeats the run
  metrics.jsonl      one record an epoch
  fault.ckpt, fault.json   the state before an update that failed, and which one that is
  best.safetensors   the weights of the epoch with the highest robust validation accuracy
  last.safetensors   the weights of the last finished epoch
  best-ema.safetensors, last-ema.safetensors   with `ema`: the averaged weights of its own best epoch, and of the last
  last.ckpt          what training needs to go on after that epoch (safetensors)
  previous.ckpt      what it needs to go on after the epoch before; gone when the run is finished
  step.ckpt          the same within the epoch that runs, where one was written since
  evaluation.jsonl   one record an evaluation
  provenance.jsonl   one record a start: command, commit, machine
"""

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w

from fastbat.errors import InputError, choose
from fastbat.files import as_path, read_records, read_toml, remove_beside, replace
from fastbat.methods import METHODS
from fastbat.models import as_of_now
from fastbat.training.settings import METHOD, Settings, describe, effective, make_method, method_settings

Checkpoint = Literal["best", "last", "best-ema", "last-ema"]
CHECKPOINTS: tuple[str, ...] = get_args(Checkpoint)
CAUSES = ("method", "eps", "protocol", "dataset", "model")  # settings that others follow from
MAY_DIFFER_ON_RESUME = {"device", "data_dir", "workers", "checkpoint_every"}
OF_THIS_MACHINE = ("data_dir", "init_from", "checkpoint_every")  # nothing of it is in the weights, for they travel


class Run:
    """The files of one training run."""

    def __init__(self, path: Path | str) -> None:
        self.path = as_path("the run directory", path)
        self.config, self.metrics = self.path / "config.toml", self.path / "metrics.jsonl"
        self.state, self.previous = self.path / "last.ckpt", self.path / "previous.ckpt"
        self.step = self.path / "step.ckpt"
        self.fault, self.about_fault = self.path / "fault.ckpt", self.path / "fault.json"
        self.evaluations = self.path / "evaluation.jsonl"
        self.provenance = self.path / "provenance.jsonl"

    @property
    def states(self) -> list[Path]:
        """The files that a training can go on from, those that are there."""
        return [file for file in (self.state, self.step, self.previous) if file.exists()]

    def remove_leftovers(self) -> None:
        """Remove what a crash left of files that were being written; the run must be locked."""
        weights = [self.weights(which) for which in CHECKPOINTS]
        for file in (self.config, self.metrics, self.state, self.step, self.fault, self.about_fault, *weights):
            remove_beside(file)

    def weights(self, which: str) -> Path:
        """Return the file of the weights `which`, one of CHECKPOINTS."""
        return self.path / f"{choose('checkpoint', which, CHECKPOINTS)}.safetensors"

    def check(self, config: dict[str, Any], resume: bool) -> None:
        """Raise InputError where a training with the settings `config` cannot begin here, or `resume` what is here."""
        if resume and self.begun:
            self.check_same(config)
        else:
            self.check_free()

    @property
    def begun(self) -> bool:
        """Whether a training has begun here."""
        return self.config.exists()

    def check_free(self) -> None:
        """Raise InputError where a new run would write over something, whatever its settings."""
        if self.path.exists() and not (self.path.is_dir() and all(f.name[0] == "." for f in self.path.iterdir())):
            raise InputError(
                f"{str(self.path)!r} already holds something; name another --out, or resume it with --resume"
            )

    def check_same(self, config: dict[str, Any]) -> None:
        """Raise InputError where the run was started with other settings than `config`."""
        before = self.read_config()
        if names := changed(before, config):
            raise self.refusal(names[0], effective(before).get(names[0]), effective(config).get(names[0]))
        if self.metrics.exists() and read_records(self.metrics) and not self.states:
            raise InputError(
                f"{str(self.path)!r} has finished epochs but no {self.state.name} to resume from; name another --out"
            )

    def unlike(self, config: dict[str, Any]) -> list[str]:
        """Return the names of the settings in `config`, which weights state, that are not those of this run."""
        if not (self.begun and config):
            return []
        before, now = completed(self.read_config()), completed(as_of_now(config))
        return [name for name in different(before, now) if name not in OF_THIS_MACHINE]

    @property
    def missing(self) -> InputError:
        """The error that there is nothing to resume."""
        how = "name the run with --out, or add the settings to start it with"
        return InputError(f"no run to resume: {str(self.config)!r} does not exist; {how}")

    @property
    def onward(self) -> str:
        """The command that starts another run from the weights of this one, with its settings."""
        return f"fastbat train --config {shlex.quote(str(self.config))} --init-from {shlex.quote(str(self.path))}"

    def refusal(self, name: str, was: Any, now: Any) -> InputError:
        """Return the error that the run goes on with its own settings alone."""
        how = "; resume with its own settings, or name another --out"
        if name == "epochs":  # every schedule ends with the last one
            how = f": each step's learning rate follows from that; to train its weights on: {self.onward}"
            how += f" --epochs {short(now)} --out NEW"
        return InputError(f"{str(self.path)!r} was started with {name} = {short(was)}, not {short(now)}{how}")

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the settings."""
        replace(self.config, tomli_w.dumps(config).encode())

    def read_config(self) -> dict[str, Any]:
        """Return the table of settings; InputError where there is none or it is not TOML.

        Older versions wrote one flat table, with what follows from the settings among them.
        """
        if not self.config.exists():
            raise self.missing
        table = read_toml(self.config)
        return table if "resolved" in table else as_of_now(table)


def short(value: Any) -> str:
    """Return a setting as text, 8.0 as 8."""
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the names of the settings of a run that are not the same in both, first those that others follow from.

    One that `before` lacks, such as one that an older version did not have, counts as its default.
    """
    before, now = completed(before), effective(now)
    names = [name for name in different(before, now) if "auto" not in (before.get(name), now.get(name))]
    return sorted(names, key=lambda name: CAUSES.index(name) if name in CAUSES else len(CAUSES))


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """Return the flat table of a run's settings with those that it lacks."""
    flat = effective(config)
    chosen = flat.get("method", METHOD)
    if chosen not in METHODS:  # the user's own
        return flat
    names = {f.name for f in fields(Settings)}
    settings = Settings(**{name: value for name, value in flat.items() if name in names})
    method = make_method(chosen, {name: value for name, value in flat.items() if name in method_settings(chosen)})
    return effective(describe(method, settings)) | flat


def different(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the names of the settings that are not the same in both, those of the machine left aside."""
    names = sorted((before.keys() | now.keys()) - MAY_DIFFER_ON_RESUME)
    return [name for name in names if before.get(name) != now.get(name)]
