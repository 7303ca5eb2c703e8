"""What trainings are made from, by content: a data set or a file may change and keep its name.

DIR/inputs.json    of a suite: the SHA-256 of each, by its name, as it was run last
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from fastbat.files import check_file
from fastbat.lazy import lazy_function
from fastbat.suite.trials import Trial, named_inputs

content = lazy_function("fastbat.data", "content")


def inputs_of(trials: Iterable[Trial], data_dir: Path | None) -> dict[str, str]:
    """Return a SHA-256 for each data set and file of weights that the trials start from; InputError if one is missing.

    A data set's is over all its files (0.2 s for CIFAR-10), of a streamed one over their names and sizes.
    """
    kinds = {name: kind for trial in trials for name, kind in named_inputs(trial.train).items()}
    return {
        name: content(name, data_dir) if kind == "dataset" else of_weights(Path(name)) for name, kind in kinds.items()
    }


def of_weights(path: Path) -> str:
    """Return the SHA-256 of a file of weights, or of a run directory's best."""
    file = path / "best.safetensors" if path.is_dir() else path
    check_file(file)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
