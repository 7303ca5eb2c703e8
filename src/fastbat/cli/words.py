"""How a word of the command line becomes a value: as the parser does it, but for budgets and whole numbers."""

import re
from collections.abc import Sequence
from typing import Any

from cyclopts import Parameter, Token, convert


def whole(kind: Any, words: Sequence[Token]) -> Any:
    """Return `words` as a `kind`; ValueError if a whole number is given as a fraction, which the parser would round."""
    if kind in (int, int | None) and (fraction := next((word.value for word in words if "." in word.value), None)):
        raise ValueError(f"{fraction} is not a whole number")
    return convert(kind, words)


def grey_levels(kind: Any, words: Sequence[Token]) -> Any:
    """Return comma-separated budgets as a `kind` in grey levels; each may be written as a fraction of 255, 8/255."""
    return convert(
        kind, [word.evolve(value=re.sub(r"\s*/\s*255(\.0*)?(?=\s*(,|$))", "", word.value)) for word in words]
    )


BUDGET = Parameter(converter=grey_levels)
VALUE = Parameter(converter=whole, negative=())  # of every flag; --flip=false, not --no-flip
