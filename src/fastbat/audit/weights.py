"""A file of weights of others as a model: what was read, what was left out, and what had to be assumed."""

from pathlib import Path
from typing import Any

from torch import nn

from fastbat.audit.normalisation import listed, normalize
from fastbat.audit.origin import Origin
from fastbat.audit.readings import NO_NORMALISATION, SHORTCUT
from fastbat.models import SHAPE, Normalize, build_model, find_model
from fastbat.models.fit import Fitted, check_shapes, fit
from fastbat.models.layouts import OWN
from fastbat.models.stored import Stored, read_weights


def of_weights(
    path: Path, origin: Origin, num_classes: int, channels: int, scale: Normalize | None
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network that `origin` names with the weights of a file, and what a record says of how it was read.

    In front stands `scale`, what was asked for; else the normalisation that the file itself has, if any. Raises
    InputError where the file holds no weights, or not those of this network.
    """
    assert origin.model is not None
    stored = read_weights(path)
    network = build(origin, origin.shortcut, num_classes, channels)
    fitted = fit(network, stored, path)
    layout, usual = fitted.layout, find_model(origin.model).settings
    shortcut = (origin.shortcut or layout.shortcut) if "shortcut" in usual else None
    if shortcut != origin.shortcut:
        network = build(origin, shortcut, num_classes, channels)
    if not layout.last_norm:
        network.bn, network.act = nn.Identity(), nn.Identity()
    own = network.state_dict()
    check_shapes(own, fitted.tensors, path)
    network.load_state_dict(own | fitted.tensors)
    if scale is None and fitted.normalisation:
        mean, std = (tensor.flatten().tolist() for tensor in fitted.normalisation)
        scale = normalize(mean, std, channels)
    assumed = assumptions(origin, fitted, shortcut, usual.get("activation"))
    lines = account(stored, fitted, origin)
    if assumed:
        lines.append(f"assumed: {', '.join(f'{what} (else {flag})' for what, flag in assumed.items())}")
    read = {"read_as": "; ".join(lines), "assumed": list(assumed), "says": dict(stored.says)}
    return (nn.Sequential(scale, network) if scale else network), read


def account(stored: Stored, fitted: Fitted, origin: Origin) -> list[str]:
    """Return what was read of a file, under which names, and what was not."""
    names = "" if fitted.layout is OWN else f" by the names of {fitted.layout.of}"
    lines = [f"{len(fitted.tensors)} tensors{names}"]
    if not fitted.layout.last_norm:
        lines.append("no BatchNorm and no activation before its pooling")
    if stored.key:
        lines.append(f"from its key {stored.key!r}")
    if stored.others:
        lines.append(f"not read: {', '.join(map(repr, stored.others))}")
    if fitted.prefix:
        lines.append(f"without the prefix {fitted.prefix!r}")
    if fitted.normalisation:
        mean, std = (listed(tensor.flatten().tolist()) for tensor in fitted.normalisation)
        used = "with its own normalisation" if origin.mean is None else "not with its own normalisation"
        lines.append(f"{used}, mean {mean}, std {std}")
    if left := fitted.dropped:
        lines.append(f"left out: {left[0]}" + (f" and {len(left) - 1} more tensors" if left[1:] else ""))
    return lines


def assumptions(origin: Origin, fitted: Fitted, shortcut: str | None, activation: str | None) -> dict[str, str]:
    """Return what a state_dict does not say, and the flag that says it otherwise."""
    assumed = {}
    if shortcut and origin.shortcut is None:
        assumed[f"{SHORTCUT}{shortcut}"] = f"--shortcut {'preact' if shortcut == 'raw' else 'raw'}"
    if origin.mean is None and not fitted.normalisation:
        assumed[NO_NORMALISATION] = "--mean and --std"
    if activation and origin.activation is None:
        assumed[f"activation {activation}"] = "--activation"
    return assumed


def build(origin: Origin, shortcut: str | None, num_classes: int, channels: int) -> nn.Module:
    """Return the network that `origin` names, without normalisation."""
    shape: dict[str, Any] = {name: getattr(origin, name) for name in SHAPE if name not in ("dropout", "shortcut")}
    assert origin.model is not None
    zeros, ones = [0.0] * channels, [1.0] * channels
    model = build_model(origin.model, num_classes=num_classes, mean=zeros, std=ones, shortcut=shortcut, **shape)
    return model.get_submodule("network")
