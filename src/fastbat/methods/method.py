"""What a training method is: settings, and losses on a batch whose gradients together make one update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from fastbat.errors import InputError
from fastbat.lazy import F, Tensor, nn, torch
from fastbat.randomness import uniform_like

if TYPE_CHECKING:
    from fastbat.data import Batch as Batch
else:
    Batch = Any  # for annotations alone: it imports torch


@dataclass(frozen=True)
class Traits:
    """What a training must know of a method before its first batch."""

    replays: int = 1
    """How often each batch is presented (FREE-AT's m)."""
    epochs: int | None = None
    """Passes over the images unless the user sets them; None: those of the data set."""
    lr_scale: float = 1.0
    """The peak learning rate, unless the user sets it, in units of the data set's."""
    differentiates_twice: bool = False
    """Whether its backward pass goes through a gradient, as a penalty on it does: such a network is not compiled."""
    once: str = ""
    """The setting, if there is one, with which it differentiates once."""
    splits: bool = False
    """Whether it stops the network behind one of its layers: such a network is not compiled either."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """What it cannot do without, and what to tell the user: "size" (images keep theirs), "view" (it can be undone)."""
    memory: Mapping[str, Literal["image", "place", "all"]] = field(default_factory=dict)
    """What the tensors of its state_dict, by name, have a row for: each "image" of the data set, or each "place" in a
    batch. On several processes each has its own. What is for "all" images is the same on all processes."""

    @property
    def shared_by(self) -> Literal["any", "image", "place"]:
        """How the images of a batch are to be shared out, so that each process remembers its own."""
        kinds = set(self.memory.values())
        if {"image", "place"} <= kinds:
            raise ValueError("a method cannot remember both images and places: processes have fixed images or places")
        return "image" if "image" in kinds else "place" if "place" in kinds else "any"


class Method:
    """A training method: a frozen dataclass of `eps`, on the [0, 1] scale (0: no budget), and settings of its own.

    A setting that is left open (None) follows from eps; `resolved` has its number. A field that is no setting
    (init=False) is its memory. The weight of a loss has `published` in its field's metadata, the largest value
    published: a larger one is reported.
    """

    eps: float

    def __init__(self, eps: float) -> None:
        """Take eps, and settings by name; each method's dataclass writes its own."""

    @property
    def traits(self) -> Traits:
        """What a training must know of the method."""
        return Traits()

    @property
    def resolved(self) -> dict[str, Any]:
        """The numbers, by name, of those settings that follow from eps unless given."""
        return {}

    def with_eps(self, eps: float) -> Self:
        """Return the method with another budget: what is left open follows it, what was given stays.

        Both have one memory, so that one goes on where the other was. A perturbation in it is cut to the budget of the
        method that reads it.

        Args:
            eps: on the [0, 1] scale.

        Raises:
            InputError: If it is no budget for the method.
        """
        other = replace(self, eps=eps)  # type: ignore[type-var]
        memory = {each.name: getattr(self, each.name) for each in fields(self) if not each.init}  # type: ignore[arg-type]
        vars(other).update(memory)
        return other

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield the losses whose accumulated gradients make one update; none: the batch makes no update.

        The caller calls backward() on each as it is yielded, so that the next can read fresh gradients.

        Args:
            model: images (B, C, H, W) in [0, 1] -> logits (B, K), in train mode.
            batch: images and labels. What a method measures goes into `batch.log`, 0-d tensors by name.

        Raises:
            InputError: If the batch lacks something that the method needs, such as its step.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the method remembers from batch to batch."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Remember what `state_dict` returned."""


def training_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the loss that trains the weights, L = mean CE; smoothed labels where the batch says so, in training alone.

    An attack climbs its own objective, on the labels themselves; FREE-AT, YOPO and FAST-BAT read theirs off this
    loss's backward pass, so that nobody may scale the loss.
    """
    return loss_to(logits, batch.y, batch)


def loss_to(logits: Tensor, targets: Tensor, batch: Batch) -> Tensor:
    """Return the mean CE to `targets`, labels (B,) or shares (B, K), smoothed as the batch says."""
    share = batch.label_smoothing
    if not share or not batch.random_smoothing:
        return F.cross_entropy(logits, targets, label_smoothing=share)
    whole = targets if targets.ndim == 2 else F.one_hot(targets, logits.shape[1]).to(logits)
    return F.cross_entropy(logits, (1 - share) * whole + share * at_random(logits, batch.y))


def at_random(logits: Tensor, y: Tensor) -> Tensor:
    """Return targets (B, K) that share 1 between all classes but the true ones, by weights U(0, 1)."""
    weights = (0.5 + 0.5 * uniform_like(logits)).scatter(1, y[:, None], 0.0)
    return weights / weights.sum(1, keepdim=True)


def required(batch: Batch, what: str) -> Any:
    """Return the `step` or the `progress` of a batch; InputError where it does not say."""
    if (value := getattr(batch, what)) is None:
        raise InputError(f"the method needs to know each batch's {what}: Batch(x, y, {what}=...)")
    return value


def grad_of(delta: Tensor) -> Tensor:
    """Return the gradient that the backward pass of the loss yielded before has left in `delta`."""
    if delta.grad is None:
        raise RuntimeError("the method reads a gradient: call backward() on each loss as it is yielded")
    return delta.grad


def with_gradient_of(term: Tensor, value: Tensor) -> Tensor:
    """Return a loss that has the value of `value` and the gradient of `term`."""
    return value.detach() + (term - term.detach())


def beyond_published(method: Any) -> dict[str, str]:
    """Return the weights of the method's losses that are above the largest published one, by name, in words."""
    found = {}
    for each in fields(method):
        value = method.resolved.get(each.name, getattr(method, each.name))
        published = each.metadata.get("published", float("inf"))
        if isinstance(value, int | float) and value > published * (1 + 1e-6):
            found[each.name] = f"{each.name} is {value:.4g}, above the largest published value, {published:g}"
    return found


def memory_state(method: Any) -> dict[str, Tensor]:
    """Return a copy of `method.memory`, as tensors: the state_dict of a method that remembers something."""
    return {name: torch.as_tensor(value).clone() for name, value in method.memory.items()}


def load_memory(method: Any, state: dict[str, Tensor]) -> None:
    """Let `method.memory` be what `memory_state` returned: its load_state_dict."""
    method.memory.clear()
    method.memory.update({name: tensor.clone() for name, tensor in state.items()})
