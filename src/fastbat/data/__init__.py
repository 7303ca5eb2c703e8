"""Data sets -> Batch(x, y, index, view): decoded once and kept as bytes, or streamed; augmented in batches."""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.data.batch import Batch, View
    from fastbat.data.cards import DATASETS, DatasetCard, Phase, dataset_card
    from fastbat.data.check import check_not_blank
    from fastbat.data.find import content
    from fastbat.data.images import Images, fingerprint, unit
    from fastbat.data.loader import Loader
    from fastbat.data.registry import Splits, load, load_test
    from fastbat.data.source import check_source
    from fastbat.data.stream import ImageSet, Stream

__all__ = [
    "DATASETS", "Batch", "DatasetCard", "ImageSet", "Images", "Loader", "Phase", "Splits", "Stream", "View",
    "check_not_blank", "check_source", "content", "dataset_card", "fingerprint", "load", "load_test", "unit",
]  # fmt: skip

export_lazily(__name__)
