"""Suites: tables of trials, each trial a training run and its evaluations in processes of their own."""

from fastbat.suite.estimate import Cost, estimate
from fastbat.suite.runner import run_suite
from fastbat.suite.status import Row, status
from fastbat.suite.trials import read_trials

__all__ = ["Cost", "Row", "estimate", "read_trials", "run_suite", "status"]
