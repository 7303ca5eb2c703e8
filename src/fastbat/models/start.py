"""Starting weights from a file: ours, a plain safetensors file, or a state_dict that torch saved. Nothing is unpickled.

Names may have `module.` or our `network.` in front. The normalisation stays that of the model; a last linear layer of
another number of classes stays as it is; everything else must fit.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from fastbat.errors import InputError
from fastbat.files import read_safetensors
from fastbat.progress import say


def load_weights(model: nn.Module, path: Path, *, new_head: bool = False) -> None:
    """Put the weights of `path`, a file or a run directory (its best ones), into a model of `build_model`.

    With `new_head` a last layer for other classes starts at random. Raises InputError, before a weight is changed,
    where they cannot be read or do not fit.
    """
    network = model.get_submodule("network")
    own = network.state_dict()
    given = named_as(own, read_weights(path))
    *_, last = ["", *(name for name, module in network.named_modules() if isinstance(module, nn.Linear))]
    head = {name: own[name] for name in (f"{last}.weight", f"{last}.bias") if name in own.keys() & given.keys()}
    if new_head and any(len(given[name]) != len(tensor) for name, tensor in head.items()):
        say(f"{path}: {len(given[f'{last}.weight'])} classes; the last layer, {last}, starts at random")
        given |= head
    for name in [*own, *given]:
        here, there = (str(tuple(side[name].shape)) if name in side else "missing" for side in (own, given))
        if here != there:
            raise InputError(f"{str(path)!r} does not fit the model: {name} is {there} in it and {here} in the model")
    network.load_state_dict(given)


def named_as(own: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return `given` without the prefixes and the normalisation that are in front of the names `own`."""
    for prefix in ("module.", "network."):
        if not given.keys() & own.keys():
            kept = given.keys() - {"normalize.mean", "normalize.std"}
            given = {name.removeprefix(prefix): given[name] for name in given if name in kept}
    return given


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, of a .pt or .pth state_dict, or of a run directory's best weights."""
    path = path / "best.safetensors" if path.is_dir() else path
    if path.suffix not in (".pt", ".pth") or not path.is_file():
        return read_safetensors(path)[0]
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file raises is not documented
        raise InputError(
            f"{str(path)!r} cannot be read without running code in it ({type(error).__name__}); where you trust it, "
            "load it and convert it: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        ) from error
    found = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise InputError(f"{str(path)!r} holds no state_dict, neither as a whole nor as its 'state_dict'")
    return dict(found)
