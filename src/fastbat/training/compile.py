"""A compiled network (torch.compile), on demand, and its tangent.

Neither a second derivative nor a network that is stopped on the way can be compiled (fit.py). Nor can a narrow one on a
CPU: compiled, it is channels-last, and writes past its memory there.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fastbat.errors import InputError, no_memory
from fastbat.runtime.layout import ONEDNN_BLOCK, narrow
from fastbat.tangent import Dual, NoRule, compiled, compiled_apart, push


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
        self.fast = {takes_gradients: fresh(model) for takes_gradients in (False, True)}
        self.fast_tangent: Callable[[Dual], Dual] | None = None
        try:
            torch.compile(torch.sin, dynamic=False)(next(model.parameters()).detach().flatten()[:1])
        except Exception as error:  # whatever the tool chain raises
            what = " ".join(str(error).split())[:200]
            raise InputError(f"compile is on, but nothing can be compiled here ({what}); leave it out") from error

    def forward(self, x: Any) -> Any:
        """Return the logits, of a Dual their Dual."""
        self.size = self.size or x.shape[0]
        if x.shape[0] != self.size:
            return self.model(x)
        if isinstance(x, Tensor):
            return self.fast[any(weight.requires_grad for weight in self.model.parameters())](x)
        if self.fast_tangent is None:
            try:
                push(self.model, x.a, x.t)
            except NoRule as error:
                raise InputError(
                    f"compile is on, but the network has no tangent ({error}), and compiled it cannot be "
                    "differentiated twice; leave it out"
                ) from error
            self.fast_tangent = compiled(self.model)
        try:
            return self.fast_tangent(x)
        except Exception as error:  # of the compiler, say: `push` would take it for a network without a tangent
            if no_memory(error):
                raise
            what = " ".join(str(error).split())[:200]
            raise InputError(f"compile is on, but the tangent does not run compiled ({what}); leave it out") from error


def fresh(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return `model`, compiled anew.

    One for weights that are held, one for those that take gradients: torch 2.11 does not see the change (2.14 does), it
    runs what was compiled for held weights, and they get no gradient.
    """

    def run(x: Tensor) -> Any:
        return model(x)

    return compiled_apart(run)
