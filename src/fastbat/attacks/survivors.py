"""Who is still to be attacked: images that were broken leave, and the rest are cut into batches anew."""

from torch import Tensor


def survivors(robust: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Return the indices of the True entries of `robust` (N,) in batches; no batch where there are none."""
    index = robust.nonzero().flatten()
    return index.split(batch_size) if len(index) else ()
