"""Where a network's numbers stop being finite: the first layer, in the order in which they run."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def not_finite(model: nn.Module, x: Tensor) -> str | None:
    """Return in words on how many images `model` gives logits that are not finite, and since which layer; else None.

    Args:
        model: images to logits (B, K), in the mode that is asked about.
        x: images (B, C, H, W) in [0, 1].
    """
    logits, where = first_not_finite(model, x)
    bad = int((~logits.isfinite().flatten(1).all(1)).sum())
    return f"the logits are not finite on {bad} of {len(x)} images, first in {where}" if bad else None


@torch.no_grad()
def first_not_finite(model: nn.Module, x: Tensor) -> tuple[Tensor, str]:
    """Return the logits (B, K) of images x, and in words where numbers are not finite first, empty if all are."""
    with looked_at(model) as first:
        logits: Tensor = model(x)
    return logits, "".join(first)


@contextmanager
def looked_at(model: nn.Module) -> Iterator[list[str]]:
    """Yield a list that holds, once the block has run `model`, where numbers were not finite first, if any were.

    That is the output of a layer; or its input, if what stands between two layers makes them so.
    """
    first: list[str] = []

    def look(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            for what, parts in (("input", inputs), ("output", output)):
                if not first and not all(finite(part) for part in tree_leaves(parts)):
                    first.append(f"the {what} of {name or 'the network'} ({type(layer).__name__}){damage(layer)}")

        return hook

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_hook(look(name)))
        yield first


def finite(part: Any) -> bool:
    """Say whether `part` of an output, if it is a tensor of floating point numbers, holds finite ones alone."""
    return not isinstance(part, Tensor) or not part.is_floating_point() or bool(part.isfinite().all())


def damage(layer: nn.Module) -> str:
    """Return in words which weights or statistics of `layer` itself are not finite."""
    own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    bad = [name for name, tensor in own if not finite(tensor)]
    return f", whose {' and '.join(bad)} {'are' if len(bad) > 1 else 'is'} not finite" if bad else ""
