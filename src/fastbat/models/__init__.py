"""Networks. Images in [0, 1] go in, logits come out: the normalisation is part of the model."""

from fastbat.models.build import MODELS, Architecture, build_model, find_model, resolve_model
from fastbat.models.checkpoint import load_model, save_model
from fastbat.models.foreign import FOREIGN
from fastbat.models.start import start_from

__all__ = [
    "FOREIGN",
    "MODELS",
    "Architecture",
    "build_model",
    "find_model",
    "load_model",
    "resolve_model",
    "save_model",
    "start_from",
]
