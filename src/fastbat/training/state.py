"""What training goes on from: weights, their average, momenta, the method's memory; one file, one checksum.

There is no generator's state in it: everything random is a function of (seed, step).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from fastbat.errors import InputError
from fastbat.files import load_tensors, save_tensors
from fastbat.methods import Method
from fastbat.models import as_of_now
from fastbat.training.run import changed, different


def save_state(
    path: Path, models: Mapping[str, nn.Module], optimizer: SGD, method: Method, about: Mapping[str, Any]
) -> None:
    """Write the state after `about["epoch"]` finished epochs: `models` by name, the optimizer's momenta, the memory."""
    tensors = {f"{kind}/{name}": t for kind, model in models.items() for name, t in model.state_dict().items()}
    for name, weight in models["model"].named_parameters():
        momentum = optimizer.state[weight].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    if hasattr(method, "state_dict"):
        tensors |= {f"memory/{name}": tensor for name, tensor in method.state_dict().items()}
    save_tensors(path, tensors, {**about, "kind": "training state"})


def read_state(path: Path, about: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a state, and what it says of itself.

    Raises InputError where the file is damaged, or belongs to other settings or images than those of `about`.
    """
    tensors, found = load_tensors(path)
    found |= {part: as_of_now(found[part]) for part in ("config", "model")}
    wanted = json.loads(json.dumps(about))
    for part, same in (("config", changed), ("dataset", different), ("model", different)):
        if same(found[part], wanted[part]):
            raise InputError(f"{str(path)!r} was written with another {part}; train anew into another --out")
    return tensors, found


def restore(tensors: Mapping[str, Tensor], models: Mapping[str, nn.Module], optimizer: SGD, method: Method) -> None:
    """Put weights, momenta and the method's memory back as `save_state` found them."""
    device = next(models["model"].parameters()).device

    def part(kind: str) -> dict[str, Tensor]:
        return {k.removeprefix(f"{kind}/"): t.to(device) for k, t in tensors.items() if k.startswith(f"{kind}/")}

    for kind, model in models.items():
        model.load_state_dict(part(kind))
    optimizer.state.clear()
    for name, momentum in part("momentum").items():
        weight = models["model"].get_parameter(name)
        optimizer.state[weight]["momentum_buffer"] = torch.empty_like(weight).copy_(momentum)  # in its layout
    if hasattr(method, "load_state_dict"):
        method.load_state_dict(part("memory"))
