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
BEYOND_CE = 0.10  # allowed: images that AutoAttack, or PGD on the margin, breaks and PGD on cross-entropy does not
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
    pgd, noise = broken["pgd"], broken["noise"]
    gradients = pgd | broken["pgd-margin"]
    flags += _beats("one-step", "fgsm breaks more than PGD", broken["fgsm"], pgd)
    for name in broken:
        if name.startswith(("square", "transfer")):
            flags += _beats(
                "black-box", f"{name} breaks more than PGD on cross-entropy and on the margin", broken[name], gradients
            )
    hits = int(noise.sum())
    if hits > max(4, LEAST_GAIN * seen.n) and not _beats("", "", pgd, noise):
        text = f"noise breaks {hits} of {seen.n} images, PGD {int(pgd.sum())}: no more"
        flags.append(RedFlag("noise", text, {"noise": hits, "pgd": int(pgd.sum()), "n": seen.n}))
    text = f"{{hits}} of {{n}} images withstand PGD at eps {seen.large_eps * 255:g}/255, where none should"
    flags += _beyond("large-eps", text, int((~broken["large-eps"]).sum()), seen.n, AT_LARGE_EPS)
    for flag, name in (("margin", "pgd-margin"), ("autoattack", "aa")):
        if name in broken:
            text = f"{name} breaks {{hits}} of {{n}} images that PGD on cross-entropy does not"
            flags += _beyond(flag, text, int((broken[name] & ~pgd).sum()), seen.n, BEYOND_CE)
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
