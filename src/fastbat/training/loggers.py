"""Where the metrics of an epoch go beside metrics.jsonl."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastbat.errors import InputError

Log = Callable[[Mapping[str, Any]], None]  # takes the record of a finished epoch


def check_logger(name: str) -> None:
    """Raise InputError where the logger `name` cannot run for want of its library."""
    if name == "tensorboard" and find_spec("tensorboard") is None:
        raise InputError("log is tensorboard, which is not installed: pip install fastbat[tensorboard]")


@contextmanager
def logger(name: str, run: Path, finished: int) -> Iterator[Log]:
    """Within the block log epochs of the run in `run`; of those before only the first `finished` count."""
    if name == "none":
        yield lambda record: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(run / "tensorboard", purge_step=finished + 1) as writer:

        def log(record: Mapping[str, Any]) -> None:
            for key, value in record.items():
                if isinstance(value, int | float):
                    writer.add_scalar(key, value, record["epoch"])
            writer.flush()

        yield log
