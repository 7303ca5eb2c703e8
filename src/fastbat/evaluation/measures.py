"""The measurements themselves, image by image: correct, withstanding an attack, and the check of every example.

An adversarial example counts only if a fresh float32 forward pass of the model misclassifies it and it lies in the eps
ball and in [0, 1], to 1e-6. So a search, in whatever precision, can understate how much it broke, never overstate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastbat.evaluation.attacked import AttackedModel, TestImages
from fastbat.evaluation.rounds import Round
from fastbat.progress import Show

SLACK = 1e-6


def correct(model: nn.Module, images: TestImages, batch_size: int = 250) -> Tensor:
    """Return a mask (N,): classified correctly. Logits that are not finite count as wrong."""
    return torch.cat([answered(model, *batch)[0] for batch in images.batches(batch_size)]).to(images.y.device)


@torch.no_grad()
def adversarial(model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return a mask (B,): x_adv is misclassified, within eps of x and within [0, 1], both to 1e-6."""
    inside = ((x_adv - x).abs() <= eps + SLACK) & (x_adv >= -SLACK) & (x_adv <= 1 + SLACK)
    return inside.flatten(1).all(1) & ~answered(model, x_adv, y)[0]


@torch.no_grad()
def answered(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return two masks (B,): classified correctly, by logits that are all finite, and whether they are finite."""
    logits = model(x)
    finite = logits.isfinite().all(1)
    return (logits.argmax(1) == y) & finite, finite


def by_class(right: Tensor, y: Tensor, classes: int) -> tuple[float | None, ...]:
    """Return the share of `right` (N,) in percent among the images of each class; None for a class without images."""
    return tuple(100 * right[y == k].float().mean().item() if (y == k).any() else None for k in range(classes))


@dataclass(frozen=True)
class Outcome:
    """What an attack did to some images."""

    broken: Tensor  # (B,) bool
    x_adv: Tensor  # (B, C, H, W): verified where broken, the image itself elsewhere
    rejected: int  # examples that fooled the search but failed their check


def attack(
    model: AttackedModel,
    x: Tensor,  # (B, C, H, W) in [0, 1], all classified correctly
    y: Tensor,  # (B,)
    index: Tensor,  # (B,) place of each image in the data set
    rounds: Sequence[Round],
    eps: float,
    show: Show = lambda share, text: None,
) -> Outcome:
    """Run the rounds on the images that are still robust, and check what they find.

    What fools the fast search and not the model is searched for once more, in the model's own precision.
    """
    broken, x_adv, rejected = torch.zeros_like(y, dtype=torch.bool), x.clone(), 0
    for i, find in enumerate(rounds):
        left = (~broken).nonzero().flatten()
        if not len(left):
            break
        show(i / len(rounds), f"round {i + 1} of {len(rounds)} on {len(left)} images")
        found = find(model.fast, x[left], y[left], index[left.cpu()]).clamp(0, 1)
        real = adversarial(model.exact, x[left], found, y[left], eps)
        false = ~real & ~answered(model.fast, found, y[left])[0]
        rejected += int(false.sum())
        if model.fast is not model.climbed and false.any():
            again = left[false]
            found[false] = find(model.climbed, x[again], y[again], index[again.cpu()]).clamp(0, 1)
            real[false] = adversarial(model.exact, x[again], found[false], y[again], eps)
        broken[left[real]] = True
        x_adv[left[real]] = found[real]
    return Outcome(broken, x_adv, rejected)


def robust(
    model: AttackedModel,
    images: TestImages,
    candidates: Tensor,  # (N,) bool: the images to attack; the others are not robust
    rounds: Sequence[Round],
    eps: float,
    batch_size: int = 250,
    show: Show = lambda share, text: None,
) -> Tensor:
    """Return a mask (N,): candidates that withstand all rounds."""
    found, batches = candidates.clone(), candidates.nonzero().flatten().split(batch_size)
    for i, index in enumerate(batches):
        show(i / len(batches), f"{int(found.sum())} of {len(images)} robust")
        outcome = attack(model, *images.batch(index), index, rounds, eps)
        found[index[outcome.broken.to(index.device)]] = False
    return found
