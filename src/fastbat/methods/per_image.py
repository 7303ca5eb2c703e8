"""What a method keeps of every image: tensors whose row i is of image i of the data set."""

from __future__ import annotations

from fastbat.lazy import Tensor, torch


def grown(rows: Tensor, count: int) -> Tensor:
    """Return `rows` with at least `count` of them, the new ones 0; it grows by an eighth at least."""
    have = len(rows)
    if count <= have:
        return rows
    return torch.cat([rows, rows.new_zeros(max(count, have + have // 8) - have, *rows.shape[1:])])
