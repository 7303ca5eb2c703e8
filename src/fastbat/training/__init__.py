"""Training: a method, a data set and a schedule -> a run directory that can be repeated, resumed and exported."""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.runtime.device import pick_device
    from fastbat.training.export import export_model
    from fastbat.training.replay import replay
    from fastbat.training.run import CAUSES, CHECKPOINTS, Checkpoint, Run
    from fastbat.training.settings import Settings
    from fastbat.training.train import train

__all__ = ["CAUSES", "CHECKPOINTS", "Checkpoint", "Run", "Settings", "export_model", "pick_device", "replay", "train"]

export_lazily(__name__)
