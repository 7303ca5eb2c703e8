"""One process or many: under torchrun each takes its share of the work, and sums bring the shares together."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


def start_processes() -> None:
    """Join the group that torchrun has made, each process on a GPU of its own; alone, do nothing.

    They wait for each other as long as it takes: blocks of an attack differ, and gloo gives up after half an hour.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=timedelta(days=30))
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def agreed(text: str) -> str:
    """Return the first process's `text`, the same on all."""
    told = [text]
    if world() > 1:
        dist.broadcast_object_list(told)
    return told[0]


def summed(share: Tensor) -> Tensor:
    """Return the sum of every process's `share`, the same on all."""
    if world() > 1:
        dist.all_reduce(share)
    return share
