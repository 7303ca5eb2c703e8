"""Weights on disk that say what they are: safetensors with the model's description as JSON metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastbat.errors import InputError
from fastbat.files import as_path, load_tensors, save_tensors
from fastbat.lazy import Tensor, nn, torch
from fastbat.models.build import MODELS, as_of_now, build_model


def save_model(path: Path, model: nn.Module, about: Mapping[str, Any]) -> None:
    """Write the weights of `model`; `about["model"]` holds the arguments of `build_model` that build it."""
    save_tensors(path, model.state_dict(), about)


def load_model(path: Path | str) -> tuple[nn.Module, dict[str, Any]]:
    """Return a model that fastbat wrote, in eval mode on the CPU, and its metadata.

    Args:
        path: a .safetensors file of a run, such as runs/first/best.safetensors.

    Returns:
        The network from images (B, C, H, W) in [0, 1] to logits, and what its file says: model, dataset, config, epoch.

    Raises:
        InputError: If the file is damaged, or its weights are not those of the model it names.
    """
    path = as_path("the file", path)
    tensors, about = load_tensors(path)
    if about.get("kind") == "training state":
        raise InputError(
            f"{str(path)!r} holds a training state, not a model; name best.safetensors or last.safetensors"
        )
    try:
        described = as_of_now(about["model"])
        check_sizes(described, tensors, path)
        model = build_model(**described)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{str(path)!r} does not describe a model of this fastbat ({error}); was it written by another?"
        ) from error
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise other_architecture(path, described, str(error).splitlines()[1].strip()) from error
    return model.eval(), about


def check_sizes(described: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise InputError unless a file holds weights of the sizes of the network it describes; allocate nothing."""
    if described["name"] not in MODELS:  # code of others may need its numbers
        return
    try:
        with torch.device("meta"):
            own = build_model(**described).state_dict()
    except RuntimeError as error:  # more than there are addresses
        raise other_architecture(path, described, " ".join(str(error).split())) from error
    for name, tensor in own.items():
        if name in tensors and tensors[name].shape != tensor.shape:
            sizes = f"{tuple(tensors[name].shape)} in it and {tuple(tensor.shape)} in the model"
            raise other_architecture(path, described, f"size mismatch for {name}: {sizes}")


def other_architecture(path: Path, described: Mapping[str, Any], wrong: str) -> InputError:
    """Return the error that the file `path` does not hold weights of the network it describes."""
    return InputError(f"{str(path)!r} holds weights of another architecture than {described['name']}: {wrong}")
