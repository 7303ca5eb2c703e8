"""The flags of `fastbat train` on which its other flags and their defaults depend, parsed ahead of those."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from fastbat.cli.words import BUDGET, VALUE
from fastbat.errors import InputError
from fastbat.training import CAUSES, Run


@dataclass(frozen=True)
class First:
    """What is given of them; None: not given."""

    method: str | None = None
    eps: Annotated[float | None, BUDGET] = None
    protocol: str | None = None
    dataset: str | None = None
    model: str | None = None
    out: Path | None = None
    config: Path | None = None
    resume: bool = False
    replay: Path | None = None

    @property
    def causes(self) -> dict[str, Any]:
        """The given settings that others follow from."""
        return {name: getattr(self, name) for name in CAUSES if getattr(self, name) is not None}

    @property
    def resumed(self) -> Run | None:
        """The run that is to resume, or to be looked at; None: a new one starts."""
        if self.replay is not None:
            return Run(self.replay)
        return Run(self.out) if self.resume and self.out is not None and Run(self.out).begun else None

    @property
    def file(self) -> Path | None:
        """The file of settings: of --config, or of the run that is to resume."""
        return self.config or (self.resumed.config if self.resumed else None)


def read_first(words: Sequence[str]) -> First:
    """Return these flags among the `words` after `fastbat train`; CycloptsError if one of them is malformed.

    Raises InputError where there is no run to look at, or to resume, and no setting to start one with.
    """
    app = App(help_flags=(), version_flags=(), default_parameter=VALUE, exit_on_error=False, print_error=False)

    @app.default
    def first(*, given: Annotated[First, Parameter(name="*")] = First()) -> None: ...

    _, bound, others, _ = app.parse_known_args(words)
    found: First = bound.arguments.get("given", First())
    if found.replay is not None and not Run(found.replay).begun:
        raise InputError(f"no run to replay: {str(Run(found.replay).config)!r} does not exist; name a run directory")
    if found.resume and found.out and not (found.resumed or found.causes or found.config or others):
        raise Run(found.out).missing  # a slip of the pen, as a rule: no setting says what else to train
    return found
