"""One process or many: under torchrun each takes its share of the work, and sums bring the shares together.

What is called here is called by all processes, in one order. Those that have nothing to do wait for the others.
"""

import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from secrets import token_hex
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from fastbat import progress
from fastbat.errors import ELSEWHERE

T = TypeVar("T")


def start_processes() -> None:
    """Join the group that torchrun has made, each process on a GPU of its own; alone, do nothing.

    From then on the first one alone says what `progress` has to say. They wait for each other as long as it takes:
    blocks of an attack differ, and gloo gives up after half an hour. Processes that share a GPU talk by gloo, too, for
    NCCL refuses.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        gpus, here = torch.cuda.device_count(), int(os.environ["LOCAL_WORLD_SIZE"])
        backend = "cpu:gloo,cuda:nccl" if here <= gpus else "gloo"
        store, number, count = next(rendezvous("env://"))
        store = dist.PrefixStore(meeting(store, number, count), store)  # type: ignore[attr-defined]
        with stdout_to_stderr():  # gloo of torch 2.9 says there whom it is connected to
            dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=timedelta(days=30))
        if gpus:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
        progress.let_first_speak(rank())


def meeting(store: Any, number: int, count: int) -> str:
    """Return a name that all processes of this start have, and none of a start before.

    Where torchrun starts processes again, torch lets them find in `store` what those before have left, and connect to
    the dead (pytorch issue 135712). So the first one offers a name, and takes the answers to it alone; an offer counts
    for those only whose own answer it has taken.
    """
    own = token_hex(8)
    if number == 0:
        store.set("offer", own)
        answers = [store.get(f"{own}/{other}").decode() for other in range(1, count)]
        store.set(f"{own}/taken", " ".join(answers))
        return own
    while True:
        offer = str(store.get("offer").decode())
        store.set(f"{offer}/{number}", own)
        if store.check([f"{offer}/taken"]) and own in store.get(f"{offer}/taken").decode().split():
            return offer
        time.sleep(0.05)


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send to stderr what the block, code in C++ too, writes to stdout, which is for results."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def agreed(value: T) -> T:
    """Return the first process's `value`, the same on all."""
    told = [value]
    if world() > 1:
        dist.broadcast_object_list(told)
    return told[0]


def gathered(value: T) -> list[T]:
    """Return every process's `value`, in their order, the same on all."""
    told: list[Any] = [value] * world()
    if world() > 1:
        dist.all_gather_object(told, value)
    return told


def summed(share: Tensor) -> Tensor:
    """Return the sum of every process's `share`, the same on all."""
    if world() > 1:
        dist.all_reduce(share)
    return share


def summed_among(share: Tensor, ranks: Sequence[int]) -> Tensor:
    """Return the sum of the `share` of the processes `ranks`, which alone call it; the first of them adds up.

    Unless they are all of them it goes from host to host: gloo sends nothing that is on a GPU.
    """
    if len(ranks) == world():
        return summed(share)
    first, *others = ranks
    total = share.cpu().contiguous()
    if rank() != first:
        dist.send(total, first)
        dist.recv(total, first)
        return share.copy_(total)
    for other in others:
        dist.recv(theirs := torch.empty_like(total), other)
        total += theirs
    for other in others:
        dist.send(total, other)
    return share.copy_(total)


def largest(numbers: Tensor) -> Tensor:
    """Return the largest of every process's `numbers`, one by one, the same on all."""
    if world() > 1:
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return numbers


def share_tensors(tensors: Iterable[Tensor], number: int = 0) -> None:
    """Let these tensors be what they are on process `number`."""
    if world() > 1:
        for tensor in tensors:
            whole = tensor.detach().contiguous()
            dist.broadcast(whole, number)
            tensor.detach().copy_(whole)


@contextmanager
def together() -> Iterator[None]:
    """End the block on all processes with the error that one of them raises in it; nothing in it may wait for others.

    The first process that raises says it. The error of the others has the note ELSEWHERE.
    """
    if world() == 1:
        yield
        return
    mine: Exception | None = None
    try:
        yield
    except Exception as error:
        mine = error
    told = gathered(None if mine is None else sendable(mine))
    for number, first in enumerate(told):
        if first is not None and mine is not None and number == rank():
            raise mine
        if first is not None:
            first.add_note(ELSEWHERE)
            raise first


def sendable(error: Exception) -> Exception:
    """Return `error`, or one of its text where it cannot go to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def on_first(action: Callable[[], T]) -> T:
    """Return what `action` returns on the first process, which alone runs it; its error is raised on all."""
    value: Any = None
    with together():
        if rank() == 0:
            value = action()
    return agreed(value)  # type: ignore[no-any-return]


def first_of_machine(action: Callable[[], T]) -> T:
    """Return what `action` returns on each process; on each machine it runs on one first, which fills the caches."""
    value: Any = None
    for first in (True, False):
        with together():
            if first == (world() == 1 or os.environ.get("LOCAL_RANK", "0") == "0"):
                value = action()
    return value  # type: ignore[no-any-return]
