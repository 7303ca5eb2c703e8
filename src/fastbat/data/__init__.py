"""Data sets -> Batch(x, y, index, view): decoded once, kept as bytes, augmented in batches."""

from fastbat.data.batch import Batch, View
from fastbat.data.images import Images, Splits
from fastbat.data.loader import Loader
from fastbat.data.registry import DATASETS, DatasetCard, load

__all__ = ["DATASETS", "Batch", "DatasetCard", "Images", "Loader", "Splits", "View", "load"]
