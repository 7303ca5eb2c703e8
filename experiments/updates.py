"""One update of PreActResNet-18 by a method, as fastbat trains it on a device: what the scripts here time."""

from collections.abc import Callable

import torch
from torch import nn

from fastbat.data import Batch
from fastbat.methods import Method
from fastbat.models import build_model
from fastbat.runtime.layout import pick_layout
from fastbat.runtime.precision import Autocast, pick_precision
from fastbat.training.compile import Compiled

MODES = {"none": "none", "tangent": "tangent", "double": "hessian-free"}  # of FAST-BAT's implicit term, by arm
Step = Callable[[], None]


def plain(width: int, device: torch.device) -> nn.Module:
    """Return the network in float32."""
    return build_model("preactresnet18", width=width).to(device).train()


def fast(width: int, method: Method, device: torch.device, compiled: bool = False) -> nn.Module:
    """Return the network as fastbat trains it by `method`."""
    precision = pick_precision(device)
    model = plain(width, device)
    layout = pick_layout(model, ours=True, twice=method.traits.differentiates_twice, precision=precision, device=device)
    model = model.to(memory_format=layout)
    if compiled:
        model = Compiled(model)
    return Autocast(model) if precision == "bf16" else model


def training(model: nn.Module, method: Method, batch: Batch) -> Step:
    """Return an update by `method`."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=True)

    def step() -> None:
        for loss in method.losses(model, batch):
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
