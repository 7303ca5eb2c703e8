"""What is known of a target before its weights, its network or an image is opened."""

from pathlib import Path

from fastbat.audit.origin import Origin, check_form
from fastbat.data import check_source
from fastbat.files import check_file
from fastbat.models import find_model
from fastbat.training import Run


def check_target(target: str, checkpoint: str, origin: Origin, data_dir: Path | None) -> None:
    """Raise InputError where `target` is not there, or what `origin` says of it cannot be."""
    check_form(target)
    if Path(target).is_dir():
        check_file(Run(target).weights(checkpoint))
    if origin.dataset is not None:
        columns = {name: getattr(origin, name) for name in ("image_column", "label_column", "image_size", "channels")}
        check_source(origin.dataset, data_dir, **columns)
    if origin.model is not None:
        find_model(origin.model)
