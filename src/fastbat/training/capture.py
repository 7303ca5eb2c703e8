"""The passes of an update captured in a CUDA graph: their kernels are launched together, not one by one.

    first batch                   its passes are run three times aside, as torch asks for, then captured and replayed
    batches of as many images     images and labels are copied to where the graph reads them; it is replayed
    others                        run as they are

Random numbers are drawn anew in each replay, from the seed of its update. Nothing else that a host knows of an update
can be in a graph: not its number, not which images they are. A method that asks for that is refused, and so is one that
waits for the device, or remembers something. It has run on no GPU yet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from fastbat.data import Batch
from fastbat.errors import InputError
from fastbat.methods import Method
from fastbat.randomness import seed_torch
from fastbat.training.gradients import Key, Sums, add, gradients

RUNS_ASIDE = 3


class Captured:
    """What `gradients` does with whole batches of one size, from a graph; it is made in the first batch."""

    def __init__(self) -> None:
        self.method: Method | None = None  # whose passes they are: a remedy's after a collapse
        self.graph: torch.cuda.CUDAGraph
        self.batch: Batch  # whose images and labels the graph reads
        self.means: dict[str, Tensor]  # where it writes the loss, and what was measured
        self.grads: list[Tensor | None]  # where it writes the gradients

    def __call__(self, method: Method, net: nn.Module, batch: Batch, noise: Key) -> Sums:
        """Do what `gradients` does; InputError where the passes of this method cannot be captured."""
        if self.method is not method:
            self.capture(method, net, batch)
        if batch.x.shape != self.batch.x.shape:
            return gradients(method, net, batch, 1, noise)
        self.batch.x.copy_(batch.x)
        self.batch.y.copy_(batch.y)
        seed_torch(*noise)
        self.graph.replay()
        for weight, grad in zip(net.parameters(), self.grads, strict=True):
            weight.grad = grad
        found: Sums = {}
        for name, value in self.means.items():
            add(found, name, value, len(batch.y))
        return found

    def capture(self, method: Method, net: nn.Module, batch: Batch) -> None:
        """Capture the passes of `method` for batches like this one; weights and statistics stay as they are."""
        self.graph, self.method = torch.cuda.CUDAGraph(), method
        self.batch = Batch(batch.x.clone(), batch.y.clone(), label_smoothing=batch.label_smoothing)
        with refused(type(method).__name__), kept(net.buffers()):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(RUNS_ASIDE):
                    passes(method, net, self.batch)
                    forget(net)
            torch.cuda.current_stream().wait_stream(aside)
            if method.state_dict():
                raise InputError("it remembers something from batch to batch")
            with torch.cuda.graph(self.graph):
                self.means = passes(method, net, self.batch)
        self.grads = [weight.grad for weight in net.parameters()]
        forget(net)


def passes(method: Method, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Leave the gradients of the method's losses in the weights; return the mean loss and what was measured."""
    batch, losses = replace(batch, log={}), []
    for loss in method.losses(net, batch):
        loss.backward()
        losses.append(loss.detach())
    if not losses:
        raise InputError("it yields no loss for some batches")
    return {"loss": torch.stack(losses).mean(), **batch.log}


def forget(net: nn.Module) -> None:
    """Leave no gradients in the weights."""
    for weight in net.parameters():
        weight.grad = None


@contextmanager
def kept(buffers: Iterator[Tensor]) -> Iterator[None]:
    """Let the buffers be after the block what they were before it."""
    before = [(buffer, buffer.clone()) for buffer in buffers]
    yield
    for buffer, was in before:
        buffer.copy_(was)


@contextmanager
def refused(name: str) -> Iterator[None]:
    """Say of whatever the block raises that the method `name` cannot be captured."""
    try:
        yield
    except (InputError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        why = " ".join(str(error).split())[:200]
        raise InputError(f"capture is on, but the update of {name} cannot be captured ({why}); leave it out") from error
