"""Starting weights from a file: ours, a plain safetensors file, or what torch saved."""

from pathlib import Path

from torch import nn

from fastbat.errors import InputError
from fastbat.files import as_path
from fastbat.models.fit import check_shapes, fit
from fastbat.models.layouts import OWN
from fastbat.models.stored import read_weights
from fastbat.progress import say


def load_weights(model: nn.Module, path: Path | str, *, new_head: bool = False) -> None:
    """Put the weights of `path`, a file or a run directory (its best ones), into a model of `build_model`.

    The normalisation stays that of the model. With `new_head` a last layer for other classes starts at random. Raises
    InputError, before a weight is changed, where they cannot be read or do not fit.
    """
    network, path = model.get_submodule("network"), as_path("the file", path)
    own, fitted = network.state_dict(), fit(network, read_weights(path), path)
    if not fitted.layout.last_norm:
        raise InputError(
            f"{str(path)!r} does not fit the model: {fitted.layout.of} has no BatchNorm before its pooling"
        )
    if fitted.layout is not OWN:
        form = fitted.layout.shortcut and f", whose code has {fitted.layout.shortcut} shortcuts"
        say(f"{path}: the weights of {fitted.layout.of}{form}")
    given = own | fitted.tensors
    *_, last = ["", *(name for name, module in network.named_modules() if isinstance(module, nn.Linear))]
    head = {name: own[name] for name in (f"{last}.weight", f"{last}.bias") if name in own}
    if new_head and any(len(given[name]) != len(tensor) for name, tensor in head.items()):
        say(f"{path}: {len(given[f'{last}.weight'])} classes; the last layer, {last}, starts at random")
        given |= head
    check_shapes(own, given, path)
    network.load_state_dict(given)
