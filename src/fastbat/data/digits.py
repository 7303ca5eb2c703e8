"""scikit-learn's digits: 1,797 grey 8x8 images of handwritten digits, inside the installed package."""

import numpy as np
import torch
from sklearn import datasets

from fastbat.data.images import Images, fingerprint

TEST_SIZE = 397  # the last 397 images are the test set, so that their writers are mostly others than the training set's


def load_digits() -> tuple[Images, Images]:
    """Return the first 1,400 images and the last 397; grey levels 0..16 are stored as 0..255."""
    digits = datasets.load_digits()
    pixels = torch.from_numpy(np.round(digits.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    classes = tuple(str(name) for name in digits.target_names)
    everything = Images(pixels, labels, classes, fingerprint(pixels, labels))
    return everything.slice(0, -TEST_SIZE), everything.slice(-TEST_SIZE, None)
