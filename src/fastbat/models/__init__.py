"""Networks. Images in [0, 1] go in, logits come out: the normalisation is part of the model."""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.models.build import MODELS, SHAPE, Architecture, as_of_now, build_model, find_model, resolve_model
    from fastbat.models.checkpoint import load_model, save_model
    from fastbat.models.external import EXTERNAL, pretrained
    from fastbat.models.normalize import Normalize
    from fastbat.models.start import load_weights

__all__ = [
    "EXTERNAL", "MODELS", "SHAPE", "Architecture", "Normalize", "as_of_now", "build_model", "find_model", "load_model",
    "load_weights", "pretrained", "resolve_model", "save_model",
]  # fmt: skip

export_lazily(__name__)
