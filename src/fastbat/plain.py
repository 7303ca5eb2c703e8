"""Numbers of NumPy and torch as Python's own, and text of others as a terminal may show it."""

import re
from typing import Any

STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(value: Any) -> Any:
    """Return a scalar of NumPy or torch as Python's int, float or bool; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () else value


def plain_text(text: str) -> str:
    """Return `text` with escapes in place of what would steer a terminal or turn its direction: names may hold that."""
    return STEERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
