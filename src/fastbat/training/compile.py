"""A compiled network (torch.compile), on demand, and its tangent.

Neither a second derivative nor a network that is stopped on the way can be compiled (fit.py). Nor can a narrow one on a
CPU: compiled, it is channels-last, and writes past its memory there.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fastbat.errors import InputError, no_memory
from fastbat.runtime.layout import ONEDNN_BLOCK, narrow
from fastbat.tangent import Dual, push


class Compiled(nn.Module):
    """`model`, compiled for batches of as many images as the first; others, such as an epoch's last, run as is.

    After `size` is set to 0 the next batch is the first. Tangents stay in the mode of theirs. Raises InputError where
    nothing can be compiled here, for want of a C++ compiler, say, or where what is compiled would crash.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if next(model.parameters()).device.type == "cpu" and narrow(model):
            raise InputError(
                f"compile is on, but compiled on a CPU convolutions of single pixels from fewer than {ONEDNN_BLOCK} "
                "channels write past their memory (oneDNN issue 6035); leave it out, or take a larger width"
            )
        self.model, self.size = model, 0
        torch._dynamo.config.recompile_limit = 64  # sizes, modes, what takes gradients: torch's 8 are soon used up
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it misses a GPU where there is none
        # apart for weights that are held and that take gradients: torch 2.11 does not see the change, and gives none
        self.fast = {takes_gradients: compiled(lambda x: model(x)) for takes_gradients in (False, True)}
        self.fast_tangent: Callable[[Dual], Dual] | None = None
        with refused("nothing can be compiled here"):
            torch.compile(torch.sin, dynamic=False)(next(model.parameters()).detach().flatten()[:1])

    def forward(self, x: Any) -> Any:
        """Return the logits, of a Dual their Dual."""
        self.size = self.size or x.shape[0]
        if x.shape[0] != self.size:
            return self.model(x)
        if isinstance(x, Tensor):
            return self.fast[any(weight.requires_grad for weight in self.model.parameters())](x)
        if self.fast_tangent is None:
            with refused("compiled it cannot be differentiated twice, and the network has no tangent"):
                push(self.model, x.a, x.t)
            self.fast_tangent = compiled_tangent(self.model)
        with refused("the tangent does not run compiled"):  # `push` would take it for a network without one
            return self.fast_tangent(x)


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turn whatever the tool chain raises in the block into an InputError that says `what`."""
    try:
        yield
    except Exception as error:
        if no_memory(error):
            raise
        raise InputError(f"compile is on, but {what} ({' '.join(str(error).split())[:200]}); leave it out") from error


def compiled(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return `run` compiled by a backend of its own: torch keeps what it compiled by code and backend.

    Of two closures it compares only the code, and would run for one network what was compiled for another.
    """
    inductor = torch._dynamo.lookup_backend("inductor")
    return torch.compile(run, backend=lambda graph, inputs: inductor(graph, inputs), dynamic=False)


def compiled_tangent(model: nn.Module) -> Callable[[Dual], Dual]:
    """Return `model` for Duals of one shape, compiled in the first call, in whose mode its layers stay."""

    @torch.compiler.allow_in_graph  # type: ignore[untyped-decorator]  # traced by running: read, sums in place would not be
    def run(tensors: dict[str, Tensor], a: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        out = functional_call(model, dict(tensors), (Dual(a, t),))
        return out.a, out.t

    fast = compiled(lambda tensors, a, t: run(tensors, a, t))
    return lambda x: Dual(*fast({**dict(model.named_parameters()), **dict(model.named_buffers())}, x.a, x.t))
