"""Red flags (Athalye et al., 2018; Carlini et al., 2019): what an honest model does not do and a masked one does.

Every flag is a statement about a share of images, and is raised where the share is too high beyond doubt: where the
lower end of its Wilson 95 % interval lies above what is allowed. `A beats B` where among the images that just one of
the two breaks, more than half are A's beyond doubt, and the gain is above 1 % of all images. Fewer than 50 images say
too little.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fastbat.evaluation.interval import wilson

MIN_IMAGES = 50
LEAST_GAIN = 0.01
AT_LARGE_EPS = 0.05  # allowed: images that withstand PGD at 64/255
ZERO_GRADIENTS = 0.05  # allowed: images whose margin has no gradient
AA_OVER_PGD = 0.10  # allowed: images that AutoAttack breaks and PGD does not
SAME = 1e-4  # two passes that differ by more than this share of the largest logit are not the same


@dataclass(frozen=True)
class RedFlag:
    """A sign that the robust accuracy is overstated, with the figures behind it."""

    name: str
    text: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What the flags are judged by."""

    n: int  # images classified correctly, of those looked at
    broken: Mapping[str, Tensor]  # by attack, of the same images: (n,) bool; large-eps is PGD at `large_eps`
    large_eps: float
    margin_gradients: Tensor | None = None  # (n,) largest |gradient of the margin|; None: there is no gradient
    repeats: float = 0.0  # largest difference of two passes, in largest logits
    probabilities: bool = False  # each output row is a distribution


def red_flags(seen: Evidence) -> tuple[tuple[RedFlag, ...], tuple[str, ...]]:
    """Return the flags raised, and what could not be judged and why."""
    found = [*_of_passes(seen)]
    if seen.n < MIN_IMAGES:
        return tuple(found), (f"too few: {seen.n} images classified correctly; attacks are compared on {MIN_IMAGES}",)
    if seen.margin_gradients is None:
        return tuple(found), ("no gradients: only black-box attacks ran, so accuracies are upper bounds",)
    return (*found, *_of_gradients(seen), *_of_attacks(seen)), ()


def _of_passes(seen: Evidence) -> list[RedFlag]:
    flags = []
    if seen.repeats > SAME:
        text = f"two passes over the same images differ by {seen.repeats:.1%} of the largest logit; try --eot 20"
        flags.append(RedFlag("stochastic", text, {"difference": seen.repeats}))
    if seen.probabilities:
        flags.append(RedFlag("probabilities", "the outputs are probabilities, whose gradients vanish: give logits"))
    return flags


def _of_gradients(seen: Evidence) -> list[RedFlag]:
    assert seen.margin_gradients is not None
    zero = int((seen.margin_gradients == 0).sum())
    return _beyond(
        "zero-gradients", "the margin has no gradient on {hits} of {n} images", zero, len(seen.margin_gradients),
        ZERO_GRADIENTS,
    )  # fmt: skip


def _of_attacks(seen: Evidence) -> list[RedFlag]:
    broken, flags = seen.broken, list[RedFlag]()
    pairs = [("one-step", "fgsm"), *(("black-box", name) for name in broken if name.startswith(("square", "transfer")))]
    for flag, name in pairs:
        flags += _beats(flag, f"{name} breaks more than PGD", broken[name], broken["pgd"])
    noise, white_box = broken["noise"], broken["pgd"]
    if int(noise.sum()) > max(4, LEAST_GAIN * seen.n) and not _beats("", "", white_box, noise):
        figures = {"noise": int(noise.sum()), "pgd": int(white_box.sum()), "n": seen.n}
        flags.append(
            RedFlag(
                "noise", f"noise breaks {figures['noise']} of {seen.n} images, PGD {figures['pgd']}: no more", figures
            )
        )
    text = f"{{hits}} of {{n}} images withstand PGD at eps {seen.large_eps * 255:g}/255, where none should"
    flags += _beyond("large-eps", text, int((~broken["large-eps"]).sum()), seen.n, AT_LARGE_EPS)
    if "aa" in broken:
        more = int((broken["aa"] & ~white_box).sum())
        flags += _beyond("autoattack", "AutoAttack breaks {hits} of {n} images that PGD does not", more, seen.n, 0.1)
    return flags


def _beyond(name: str, text: str, hits: int, n: int, allowed: float) -> list[RedFlag]:
    """Return the flag where the share of hits exceeds what is allowed, beyond doubt."""
    if wilson(hits, n)[0] <= allowed:
        return []
    full = f"{text.format(hits=hits, n=n)} (allowed: {allowed:.0%})"
    return [RedFlag(name, full, {"hits": hits, "n": n, "allowed": allowed})]


def _beats(name: str, text: str, one: Tensor, other: Tensor) -> list[RedFlag]:
    """Return the flag where attack `one` beats `other`, beyond doubt."""
    wins, losses, n = int((one & ~other).sum()), int((other & ~one).sum()), len(one)
    if wins - losses <= LEAST_GAIN * n or wilson(wins, wins + losses)[0] <= 0.5:
        return []
    figures = {"only_it": wins, "only_pgd": losses, "n": n}
    return [RedFlag(name, f"{text}: {wins} images that PGD does not, PGD {losses} that it does not, of {n}", figures)]


def margin_gradients(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return for each image the largest |d/dx (z_y - max_{k != y} z_k)|, (B,); 0 where there is none."""
    x = x.detach().requires_grad_()
    logits = model(x)
    truth = logits.gather(1, y[:, None])[:, 0]
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    gradient = torch.autograd.grad((truth - other).sum(), x, allow_unused=True)[0]
    return torch.zeros_like(truth) if gradient is None else gradient.abs().flatten(1).amax(1)


@torch.no_grad()
def passes(model: nn.Module, x: Tensor) -> dict[str, Any]:
    """Return what two passes over x say: how far they differ, and whether each row is a distribution."""
    first, second = model(x), model(x)
    largest = first.abs().max().clamp_min(1e-12)
    ones = (first.sum(1) - 1).abs().max() < SAME
    return {
        "repeats": float((first - second).abs().max() / largest),
        "probabilities": bool(ones and first.min() >= 0),
    }
