"""Where a data set is read from, and how: what can be refused before a file is opened."""

from pathlib import Path
from typing import Any

from fastbat.data.cards import dataset_card
from fastbat.errors import InputError


def check_source(name: str, data_dir: Path | str | None, **given: Any) -> None:
    """Raise InputError where the data set `name` does not take a setting `given`, or its folder is not there."""
    card = dataset_card(name)
    ours = ("data_dir", "image_column", "label_column", "image_size")
    idle = ours if name == "digits" else ("image_size", "pad", "rotation") if card.phases else ()
    if given.get("channels") not in (None, 1, 3):
        raise InputError(f"channels is {given['channels']}; it must be 1, grey, or 3, RGB")
    if (size := given.get("image_size")) is not None and size < 1:
        raise InputError(f"image_size is {size}; it must be at least 1")
    if name == "digits" and given.get("channels") == 3:
        raise InputError("channels is 3, but digits is grey; leave it out")
    for what, value in {"data_dir": data_dir, **given}.items():
        if value and what in idle:
            how = "streamed" if card.phases else "embedded"
            raise InputError(f"{what} is {str(value)!r}, but {name} is {how}; leave it out")
    if data_dir is None and card.hub is None and name != "digits":
        raise InputError(f"{name} is read from a folder of yours; name it with --data-dir")
    if data_dir is not None and not Path(data_dir).is_dir():
        holds = f"{name}-train.parquet" if card.mean else "train/CLASS/*.jpg or train.parquet"
        raise InputError(f"data_dir {str(data_dir)!r} is not a folder; it should hold {holds}")
