"""Training: a method, a data set and a schedule -> a run directory that can be repeated, resumed and evaluated."""

from fastbat.training.evaluate_run import evaluate_run
from fastbat.training.export import export_model
from fastbat.training.run import Run
from fastbat.training.settings import Settings
from fastbat.training.trainer import train

__all__ = ["Run", "Settings", "evaluate_run", "export_model", "train"]
