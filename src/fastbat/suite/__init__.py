"""Suites: tables of trials, each trial a training run and its evaluations in processes of their own."""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.suite.engine import check_ray, local, on_ray
    from fastbat.suite.estimate import Cost, estimate
    from fastbat.suite.inputs import inputs_of
    from fastbat.suite.processes import printed_by
    from fastbat.suite.remaining import ESTIMATE, duration
    from fastbat.suite.runner import check_all, run_suite
    from fastbat.suite.status import Row, status
    from fastbat.suite.trials import flags, read_trials, trials_of

__all__ = [
    "ESTIMATE", "Cost", "Row", "check_all", "check_ray", "duration", "estimate", "flags", "inputs_of", "local",
    "on_ray", "printed_by", "read_trials", "run_suite", "status", "trials_of",
]  # fmt: skip

export_lazily(__name__)
