"""Data sets -> Batch(x, y, index, view): decoded once and kept as bytes, or streamed; augmented in batches."""

from fastbat.data.batch import Batch, View
from fastbat.data.cards import DATASETS, DatasetCard, Phase, dataset_card
from fastbat.data.check import check_not_blank
from fastbat.data.images import Images, fingerprint, unit
from fastbat.data.loader import Loader
from fastbat.data.registry import Splits, load, load_test
from fastbat.data.stream import ImageSet, Stream

__all__ = [
    "DATASETS", "Batch", "DatasetCard", "ImageSet", "Images", "Loader", "Phase", "Splits", "Stream", "View",
    "check_not_blank", "dataset_card", "fingerprint", "load", "load_test", "unit",
]  # fmt: skip
