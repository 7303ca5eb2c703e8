"""Numbers of NumPy and torch as Python's own, which can be compared, counted with and written down."""

from typing import Any


def plain(value: Any) -> Any:
    """Return a scalar of NumPy or torch as Python's int, float or bool; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () else value
