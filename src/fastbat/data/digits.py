"""scikit-learn's digits: 1,797 grey 8x8 images of handwritten digits, inside the installed package.

Its file is read without importing scikit-learn, which takes as long as importing torch. Each line holds the 64 grey
levels 0..16 of an image, row by row, and its digit.
"""

from importlib.util import find_spec
from pathlib import Path

from fastbat.data.images import Images, fingerprint
from fastbat.errors import InputError
from fastbat.lazy import np, torch

FILE = "datasets/data/digits.csv.gz"
TEST_SIZE = 397  # the last 397 images are the test set, so that their writers are mostly others than the training set's


def load_digits() -> tuple[Images, Images]:
    """Return the first 1,400 images and the last 397; grey levels 0..16 are stored as 0..255."""
    rows = np.loadtxt(digits_file(), delimiter=",")
    pixels = torch.from_numpy(np.round(rows[:, :64] * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
    labels = torch.from_numpy(rows[:, 64].astype(np.int64))
    everything = Images(pixels, labels, tuple("0123456789"), fingerprint(pixels, labels))
    return everything.slice(0, -TEST_SIZE), everything.slice(-TEST_SIZE, None)


def digits_file() -> Path:
    """Return where scikit-learn keeps its digits; InputError where it is not installed or keeps them elsewhere."""
    found = find_spec("sklearn")
    for folder in found.submodule_search_locations or () if found else ():
        if (Path(folder) / FILE).is_file():
            return Path(folder) / FILE
    raise InputError(f"scikit-learn with its {FILE} is not installed; pip install -U scikit-learn")
