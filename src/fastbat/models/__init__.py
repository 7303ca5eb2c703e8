"""Networks. Images in [0, 1] go in, logits come out: the normalisation is part of the model."""

from fastbat.models.build import DEFAULT_WIDTH, MODELS, build_model
from fastbat.models.checkpoint import load_model, save_model

__all__ = ["DEFAULT_WIDTH", "MODELS", "build_model", "load_model", "save_model"]
