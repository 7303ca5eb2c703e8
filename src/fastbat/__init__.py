"""fastbat: fast adversarial training by bi-level optimization, and honest evaluation of what it gives."""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.data import Batch
    from fastbat.errors import InputError
    from fastbat.evaluation import Evaluation, evaluate
    from fastbat.methods import METHODS
    from fastbat.models import build_model, load_model
    from fastbat.training import Settings, export_model, train

__all__ = [
    "METHODS", "Batch", "Evaluation", "InputError", "Settings", "build_model", "evaluate", "export_model", "load_model",
    "train",
]  # fmt: skip

export_lazily(__name__)
