"""Any model, by what the user calls it, as a network from images in [0, 1] to logits.

    a run directory, or a .safetensors file of one      says itself what it is, and what it was trained on (a file
                                                        that names code runs it only with --model module:function)
    a file of weights, safetensors or torch.save's      a state_dict of --model NAME
    an ONNX model                                       as a black box
    timm/NAME                                           with timm's own weights and normalisation
    module:function                                     runs that code

Files are told apart by their content. Nothing is unpickled; a file that would run code is refused.
"""

from pathlib import Path
from typing import Any

from torch import nn

from fastbat.audit.normalisation import given_scale, normalize
from fastbat.audit.origin import WEIGHTS, Form, Origin
from fastbat.audit.readings import NO_NORMALISATION
from fastbat.audit.weights import of_weights
from fastbat.models import find_model, pretrained


def undescribed(
    target: str, form: Form, origin: Origin, num_classes: int, channels: int
) -> tuple[nn.Module, dict[str, Any]]:
    """Return a model of others and what a record says of how it was read.

    `num_classes` and `channels` are those of the images it is to be measured on.
    """
    path, given = Path(target), given_scale(origin)
    scale = normalize(*given, channels) if given else None
    model: nn.Module
    if form in WEIGHTS:
        return of_weights(path, origin, num_classes, channels, scale)
    if form == "onnx":
        from fastbat.audit.onnx import Onnx  # here, for its library is an extra

        model = Onnx(path)
    elif form == "timm":
        model, scale = pretrained(target)
    else:
        model = find_model(target).build(num_classes=num_classes, channels=channels)
    return (nn.Sequential(scale, model) if scale else model), {} if scale else {"assumed": [NO_NORMALISATION]}
