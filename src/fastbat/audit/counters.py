"""How long a network was trained, as far as its BatchNorm layers tell: the batches that they counted in train mode.

Each update counts at least one batch. An attack in train mode counts too, so the count is an upper bound.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastbat.lazy import nn

COUNTER = "num_batches_tracked"


def batches_counted(model: nn.Module) -> list[int]:
    """Return the least and the most batches that a layer counted, once if they are one; none if nothing was counted."""
    counts = {int(count) for name, count in model.named_buffers() if name.endswith(COUNTER)} - {0}
    return sorted({min(counts), max(counts)}) if counts else []


def in_words(counts: Sequence[int]) -> str:
    """Return what the counts say."""
    rest = f" (the least of them {counts[0]:,})" if counts[1:] else ""
    return f"trained for at most {counts[-1]:,} updates: its BatchNorm layers counted that many batches{rest}"
