"""The memory of a method on P processes: each remembers its own places or images, and a checkpoint has all of it.

    place    row k of the whole is row k // P of process k % P
    image    row i of the whole is row i of process i % P, which has rows for all images
    all      the same on all processes

So a run may be resumed on another number of them.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from fastbat.data import Batch
from fastbat.methods import Method
from fastbat.runtime.processes import gathered, rank, share_tensors, world


def whole_memory(method: Method) -> dict[str, Tensor]:
    """Return on the first process what all of them remember."""
    mine = method.state_dict()
    if world() == 1:
        return mine
    kinds = {name: kind for name, kind in method.traits.memory.items() if kind != "all"}
    own = {name: tensor[rank() :: world()] if kinds.get(name) == "image" else tensor for name, tensor in mine.items()}
    told, found = gathered({name: (tuple(rows.shape), rows.dtype) for name, rows in own.items()}), {}
    for name in sorted({name for each in told for name in each}):
        have = {number: each[name] for number, each in enumerate(told) if name in each}
        senders = list(have) if name in kinds else list(have)[:1]
        parts = {number: sent_to_first(own.get(name), number, *have[number]) for number in senders}
        if rank() == 0:
            found[name] = in_turn(parts) if name in kinds else parts[senders[0]]
    return found


def sent_to_first(own: Tensor | None, number: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return on the first process, on its host, what process `number` has of its `own`; nothing on the others."""
    if own is not None and rank() == number:
        own = own.cpu().contiguous()
        if number == 0:
            return own
        dist.send(own, 0)
    part = torch.empty(shape if rank() == 0 else 0, dtype=dtype)
    if rank() == 0:
        dist.recv(part, number)
    return part


def in_turn(parts: dict[int, Tensor]) -> Tensor:
    """Return the rows of all processes, one of each in turn; what a process lacks at the end is 0."""
    rows = max(number + world() * (len(part) - 1) + 1 for number, part in parts.items())
    found = parts[min(parts)].new_zeros((max(0, rows), *parts[min(parts)].shape[1:]))
    for number, part in parts.items():
        found[number :: world()][: len(part)] = part
    return found


def share_memory(method: Method, batch: Batch) -> None:
    """Let a process that has no images of `batch` remember what is for all images, as the others do after it."""
    common = {name for name, kind in method.traits.memory.items() if kind == "all"}
    owners = [] if batch.share is None else batch.share.owners.unique().tolist()
    if not common or len(owners) == world():
        return
    mine, here = method.state_dict(), rank() in owners
    shapes = gathered({name: (mine[name].shape, mine[name].dtype) for name in common & mine.keys()})[owners[0]]
    theirs = {
        name: mine[name] if here else torch.empty(shape, dtype=dtype, device=batch.x.device)
        for name, (shape, dtype) in sorted(shapes.items())
    }
    share_tensors(theirs.values(), owners[0])
    if not here:
        method.load_state_dict(mine | theirs)


def own_memory(method: Method, memory: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what this process remembers of all that the `memory` of `method` holds."""
    places = {name for name, kind in method.traits.memory.items() if kind == "place"}
    return {name: tensor[rank() :: world()] if name in places else tensor for name, tensor in memory.items()}
