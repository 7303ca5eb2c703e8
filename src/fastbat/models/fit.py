"""Which weight of a file is which of a network: the names of public code and what wraps them are known.

In front of the names may stand `module.`, `model.`, `network.` or anything else, in any order; what torch puts around a
module that it compiles, shards or recomputes, such as `_orig_mod.`, may stand anywhere. Counters, a profiler's too,
blocks that no forward pass runs and tensors under a second name are left out; all else within the network must have its
place.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Never

import torch
from torch import Tensor, nn

from fastbat.errors import InputError
from fastbat.models.layouts import OWN, PUBLIC, Layout
from fastbat.models.preact_resnet import PreActResNet
from fastbat.models.resnet import ResNet
from fastbat.models.stored import Stored

COUNTERS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")  # the last part of a name
WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
USUAL = {"", "module", "model", "network", "net", "student"}  # parts of a prefix, where several sets of weights are
UNUSED = "sub_block1."  # of TRADES' WideResNet: its forward pass leaves this block out
NORMALISATIONS = (("mean", "std"), ("mu", "sigma"), ("mu", "std"), ("new_mean", "new_std"))
UNLIKE = {  # by what their names hold: networks of another function
    "batchnorm_0.": "it is DeepMind's WideResNet, which pads its strided convolutions on one side",
    "shortcut.1.": "it has BatchNorm in its shortcuts, as a ResNet without pre-activation, such as --model resnet18",
    "downsample.1.": "its names are those of torchvision's ResNets, such as --model torchvision/resnet18",
}
ITS_CODE = "its own code runs it: --model MODULE:FUNCTION"


@dataclass(frozen=True)
class Fitted:
    """The weights of a file under the names of a network, and what became of the rest."""

    tensors: dict[str, Tensor]
    layout: Layout
    prefix: str
    """What stood in front of the names."""
    dropped: tuple[str, ...]
    """Names of tensors that the network has no place for; not of counters."""
    normalisation: tuple[Tensor, ...]
    """Mean and standard deviation that lay next to the weights, if any."""


@dataclass(frozen=True)
class Place:
    """A layout and a prefix that the names of a file may have."""

    layout: Layout
    prefix: str
    names: Mapping[str, str]  # ours -> the file's

    def missing(self, given: Mapping[str, Tensor]) -> list[str]:
        """Return our names of what the file does not have."""
        return [ours for ours, theirs in self.names.items() if theirs not in given]


def fit(network: nn.Module, stored: Stored, path: Path) -> Fitted:
    """Return the weights of a file under the names of `network`, of whatever shapes.

    Raises InputError where one is missing, or the file has one within the network for which there is no place.
    """
    own, given = network.state_dict(), {WRAPPERS.sub("", name): tensor for name, tensor in stored.tensors.items()}
    layouts = (OWN, *PUBLIC) if isinstance(network, PreActResNet | ResNet) else (OWN,)
    check_kinds(given, path)
    place = min(places(own, given, layouts), key=lambda place: len(place.missing(given)) / max(1, len(place.names)))
    place = the_one_meant(place, [each for each in places(own, given, layouts) if not each.missing(given)], given, path)
    if missing := place.missing(given):
        shape = tuple(own[missing[0]].shape)
        detail = f"{missing[0]} is missing in it and {shape} in the model"
        if 2 * len(missing) > len(place.names):
            detail = f"its names are {', '.join([*given][:3])}, ..., the model's {missing[0]}, ...; {ITS_CODE}"
        elif place.layout is not OWN:
            detail += f"; its names are those of {place.layout.of}"
        refuse(path, own, given, detail)
    counters = {name: place.prefix + place.layout.theirs(name) for name in own.keys() - place.names.keys()}
    names = {**place.names, **{ours: theirs for ours, theirs in counters.items() if theirs in given}}
    rest = {name: tensor for name, tensor in given.items() if name not in set(names.values())}
    beside = normalisation(rest)
    known = {given[name].data_ptr() for name in given if name not in rest or UNUSED in name}  # also by a second name
    new = [name for name in rest if name not in beside and not counter(name) and given[name].data_ptr() not in known]
    for name in new:
        if name.startswith(place.prefix):
            shape, inner = tuple(given[name].shape), name.removeprefix(place.prefix)
            refuse(path, own, given, f"{inner} is {shape} in it and missing in the model")
    tensors = {ours: given[theirs] for ours, theirs in names.items()}
    left = [*new, *(name for name in rest if UNUSED in name and not counter(name))]
    return Fitted(tensors, place.layout, place.prefix, tuple(left), tuple(beside.values()))


def places(own: Mapping[str, Tensor], given: Mapping[str, Tensor], layouts: Sequence[Layout]) -> Iterator[Place]:
    """Yield every layout with every prefix that the name of the first weight has in the file, the short ones first."""
    for layout in layouts:
        names = layout.names(own)
        first = next(iter(names.values()), "")
        found = [name.removesuffix(first) for name in given if name.endswith(f".{first}")]
        for prefix in ("", *sorted(found, key=len)):
            yield Place(layout, prefix, {ours: prefix + theirs for ours, theirs in names.items()})


def the_one_meant(best: Place, complete: Sequence[Place], given: Mapping[str, Tensor], path: Path) -> Place:
    """Return the place of the weights; InputError where several sets of them are complete, and none is usual."""
    sets = list[Place]()
    for place in complete:
        if not any(place.prefix == other.prefix or same_weights(place, other, given) for other in sets):
            sets.append(place)
    usual = [place for place in sets if USUAL.issuperset(place.prefix.split("."))]
    if len(sets) > 1 and len(usual) != 1:
        listed = ", ".join(repr(place.prefix) for place in sets)
        raise InputError(f"{str(path)!r} holds several sets of weights: {listed}; save the one that is meant alone")
    return [*usual, *sets, best][0]


def same_weights(place: Place, other: Place, given: Mapping[str, Tensor]) -> bool:
    """Return whether a file has the same weights at both places, as that of a model next to its attacker has."""
    return place.names.keys() == other.names.keys() and all(
        torch.equal(given[theirs], given[other.names[ours]]) for ours, theirs in place.names.items()
    )


def check_kinds(given: Mapping[str, Tensor], path: Path) -> None:
    """Raise InputError where a tensor is sparse, or has no numbers."""
    for name, tensor in given.items():
        if tensor.is_meta or tensor.layout is not torch.strided:
            what = "without numbers (meta)" if tensor.is_meta else f"sparse ({tensor.layout})"
            raise InputError(f"{str(path)!r} holds {name} {what}; save it dense")


def refuse(path: Path, own: Mapping[str, Tensor], given: Mapping[str, Tensor], detail: str) -> Never:
    """Raise InputError: the file holds the weights of a known other network, or it is `detail` that does not fit."""
    for part, why in UNLIKE.items():
        if any(part in name for name in given) and not any(part in name for name in own):
            detail = f"{why}; {ITS_CODE}"
    raise InputError(f"{str(path)!r} does not fit the model: {detail}")


def counter(name: str) -> bool:
    """Return whether the tensor counts batches, models or operations."""
    return name.rpartition(".")[2] in COUNTERS


def normalisation(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean and the standard deviation of images among these tensors, in this order, where there are both."""
    for name, tensor in tensors.items():
        parent, dot, last = name.rpartition(".")
        for mean, std in NORMALISATIONS:
            if last == mean and (other := f"{parent}{dot}{std}") in tensors and tensor.numel() <= 4:
                return {name: tensor, other: tensors[other]}
    return {}


def check_shapes(own: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path) -> None:
    """Raise InputError unless the tensors that the network has, too, are of its shapes."""
    for name in (name for name in own if name in given):
        here, there = tuple(own[name].shape), tuple(given[name].shape)
        if own[name].is_floating_point() and not given[name].is_floating_point():
            raise InputError(f"{str(path)!r} holds {name} in {given[name].dtype}; save it in floating point")
        if here != there:
            raise InputError(f"{str(path)!r} does not fit the model: {name} is {there} in it and {here} in the model")
