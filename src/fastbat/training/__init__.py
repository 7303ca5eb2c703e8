"""Training: a method, a data set and a schedule -> a run directory that can be repeated, resumed and exported."""

from fastbat.training.export import export_model
from fastbat.training.machine import pick_device
from fastbat.training.run import CHECKPOINTS, Checkpoint, Run
from fastbat.training.settings import Settings
from fastbat.training.trainer import train

__all__ = ["CHECKPOINTS", "Checkpoint", "Run", "Settings", "export_model", "pick_device", "train"]
