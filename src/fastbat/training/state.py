"""What training goes on from: weights, momenta, the method's memory, the best epoch so far; one file, one checksum.

There is no generator's state in it: everything random is a function of (seed, step).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import SGD

from fastbat.errors import InputError
from fastbat.files import load_tensors, save_tensors
from fastbat.methods import Method

IGNORED = {"device": None}  # may differ from the run that is gone on with


@dataclass(frozen=True)
class Best:
    """The epoch with the highest robust validation accuracy; among equals standard accuracy decides."""

    ra: float = -1.0
    sa: float = -1.0
    epoch: int = 0

    def beats(self, other: "Best") -> bool:
        """Say whether this epoch is to be kept rather than `other`."""
        return (self.ra, self.sa) > (other.ra, other.sa)


def save_state(
    path: Path, model: nn.Module, optimizer: SGD, method: Method, about: Mapping[str, Any], best: Best
) -> None:
    """Write the state after `about["epoch"]` finished epochs; `about` is what the weights say of themselves."""
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for name, weight in model.named_parameters():
        momentum = optimizer.state[weight].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    if hasattr(method, "state_dict"):
        tensors |= {f"memory/{name}": tensor for name, tensor in method.state_dict().items()}
    save_tensors(path, tensors, {**about, "kind": "training state", "best": asdict(best)})


def load_state(
    path: Path, model: nn.Module, optimizer: SGD, method: Method, about: Mapping[str, Any]
) -> tuple[int, Best]:
    """Put weights, momenta and the method's memory back; return the number of finished epochs and the best of them.

    Raises InputError where the file is damaged, or belongs to other settings or images than those of `about`.
    """
    tensors, found = load_tensors(path)
    wanted = json.loads(json.dumps(about))
    for part in ("config", "dataset", "model"):
        if {**found[part], **IGNORED} != {**wanted[part], **IGNORED}:
            raise InputError(f"{str(path)!r} was written with another {part}; train anew into another --out")
    weights = {name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith("model/")}
    model.load_state_dict(weights)
    if hasattr(method, "load_state_dict"):
        device = next(model.parameters()).device
        memory = {name: tensor.to(device) for name, tensor in tensors.items() if name.startswith("memory/")}
        method.load_state_dict({name.removeprefix("memory/"): tensor for name, tensor in memory.items()})
    for name, weight in model.named_parameters():
        if f"momentum/{name}" in tensors:
            optimizer.state[weight]["momentum_buffer"] = tensors[f"momentum/{name}"].to(weight.device)
    return found["epoch"], Best(**found["best"])
