"""Red flags (Athalye et al., 2018; Carlini et al., 2019): what an honest model does not do and a masked one does.

Every flag is a statement about a share of images, and is raised where the share is too high beyond doubt: where the
lower end of its Wilson 95 % interval lies above what is allowed. `A beats B` where among the images that just one of
the two breaks, more than half are A's beyond doubt, and the gain is above 1 % of the images. Attacks are compared on
the images classified correctly; what a stronger one breaks beyond PGD is a share of all images: points of
accuracy, and so is what AutoAttack and its preview disagree on. Fewer than 50 images say too little.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from fastbat.evaluation.border import Border
from fastbat.evaluation.interval import wilson

MIN_IMAGES = 50
LEAST_GAIN = 0.01
AT_LARGE_EPS = 0.05  # allowed: images that withstand PGD at a large budget and break under Square there
ZERO_GRADIENTS = 0.05  # allowed: images whose margin has no gradient
LOST_AT_BORDER = 0.05  # allowed: images whose pixels at 0 and 1 lose their gradient; none was seen of honest models
ALONE = 8  # images given to the model one by one
BEYOND_CE = 0.10  # allowed, of all images: those a stronger gradient attack breaks and PGD on cross-entropy does not
ON_MARGIN, AUTOATTACK = ("pgd-margin", "preview"), ("apgd-ce", "apgd-t", "fab-t", "aa")
SAME = 1e-4  # two passes that differ by more than this share of the largest logit are not the same
ALIKE = 1e-2  # of batches of other sizes: kernels differ, and TF32 rounds to a thousandth


@dataclass(frozen=True)
class RedFlag:
    """A sign that the robust accuracy is overstated, with the figures behind it."""

    name: str
    text: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Attacked:
    """What attacks with one budget broke; each saw the first images, some more of them than others."""

    eps: float
    clean: Tensor  # (N,) bool: classified correctly
    broken: Mapping[str, Tensor]  # by attack: (n,) bool, n <= N

    def common(self, *names: str) -> list[Tensor]:
        """Return what these attacks broke of the images that all have seen and that were classified correctly."""
        n = min(len(self.broken[name]) for name in names)
        return [self.broken[name][:n][self.clean[:n]] for name in names]

    def alone(self, one: str, other: str) -> Tensor:
        """Return, for all images that both have seen, which were classified correctly and only `one` broke."""
        n = min(len(self.broken[one]), len(self.broken[other]))
        return self.clean[:n] & self.broken[one][:n] & ~self.broken[other][:n]


@torch.no_grad()
def of_outputs(model: nn.Module, x: Tensor) -> list[RedFlag]:
    """Return the flags that two passes over the images x raise, and one over the first of them one by one."""
    first, second = (torch.nan_to_num(model(x)) for _ in range(2))
    flags, differ = list[RedFlag](), _difference(first, second)
    if differ > SAME:
        text = f"two passes over the same images differ by {differ:.1%} of the largest logit; try --eot 20"
        flags.append(RedFlag("stochastic", text, {"difference": differ}))
    elif (alone := _difference(first[:ALONE], torch.cat([model(image) for image in x[:ALONE].split(1)]))) > ALIKE:
        text = (
            f"the logits of an image alone and among {len(x)} differ by {alone:.1%} of the largest: all accuracies "
            "depend on the batch, as where BatchNorm has no running statistics"
        )
        flags.append(RedFlag("batch-dependent", text, {"difference": alone, "batch": len(x)}))
    if first.min() >= 0 and (first.sum(1) - 1).abs().max() < SAME:
        flags.append(RedFlag("probabilities", "the outputs are probabilities, whose gradients vanish: give logits"))
    return flags


def _difference(logits: Tensor, other: Tensor) -> float:
    """Return the largest difference, as a share of the largest logit."""
    return float((logits - torch.nan_to_num(other)).abs().max() / logits.abs().max().clamp_min(1e-12))


def of_finite(not_finite: Tensor, where: str) -> list[RedFlag]:
    """Return the flag that images (N,) raise whose logits are not finite, first in `where`."""
    hits, n = int(not_finite.sum()), len(not_finite)
    text = f"the logits are not finite on {hits} of {n} images, which count as misclassified; first in {where}"
    return [RedFlag("not-finite", text, {"hits": hits, "n": n})] if hits else []


def of_border(border: Border) -> list[RedFlag]:
    """Return the flag that a gradient lost at pixels of exactly 0 and 1 raises."""
    here = (
        "are given them a hair inside, where it is" if border.climbed < border.without / 2 else "have none there either"
    )
    text = (
        f"pixels at exactly 0 or 1 have no gradient on {{hits}} of {{n}} images, {border.without:.0%} of these pixels, "
        f"as where a model clamps its input; a grey level inside {border.inside:.0%} have none, elsewhere "
        f"{border.others:.0%}; attacks {here}"
    )
    shares = {name: getattr(border, name) for name in ("without", "inside", "climbed", "others")}
    return [
        replace(flag, figures={**flag.figures, **shares})
        for flag in _beyond("border-gradients", text, border.lost, LOST_AT_BORDER)
    ]


def of_gradients(sizes: Tensor) -> list[RedFlag]:
    """Return the flag that images raise whose margin has no gradient; `sizes` (n,): its largest |entry|."""
    text = "the margin has no gradient on {hits} of {n} images"
    return _beyond("zero-gradients", text, ~(sizes > 0), ZERO_GRADIENTS)


def of_attacks(seen: Attacked) -> list[RedFlag]:
    """Return the flags that a comparison of attacks with the same budget raises."""
    at, flags = f"at eps {255 * seen.eps:.10g}/255 ", list[RedFlag]()
    flags += _beaten("one-step", f"{at}FGSM breaks more than PGD", *seen.common("fgsm", "pgd"))
    for name in seen.broken:
        if name.startswith(("square", "transfer")):
            black, cross_entropy, margin = seen.common(name, "pgd", "pgd-margin")
            text = f"{at}{name} breaks more than PGD on cross-entropy and on the margin"
            flags += _beaten("black-box", text, black, cross_entropy | margin)
        if name in ON_MARGIN + AUTOATTACK:
            text = f"{at}{name} breaks {{hits}} images that PGD on cross-entropy does not, of all {{n}}"
            flag = "margin" if name in ON_MARGIN else "autoattack"
            flags += _beyond(flag, text, seen.alone(name, "pgd"), BEYOND_CE)
    flags += of_preview(seen)
    noise, pgd = seen.common("noise", "pgd")
    hits, left, n = int(noise.sum()), int((~pgd).sum()), len(noise)
    if min(hits, left) > max(4, LEAST_GAIN * n) and not _beats(pgd, noise):
        text = f"{at}noise breaks {hits} of {n} images, PGD {int(pgd.sum())}: no more"
        flags.append(RedFlag("noise", text, {"noise": hits, "pgd": int(pgd.sum()), "n": n}))
    return flags


def of_preview(seen: Attacked) -> list[RedFlag]:
    """Return the flag that AutoAttack and its preview raise if they disagree."""
    if not {"aa", "preview"} <= seen.broken.keys():
        return []
    aa, preview = seen.alone("aa", "preview"), seen.alone("preview", "aa")
    if not (_beats(aa, preview) or _beats(preview, aa)):
        return []
    only_aa, only_preview, n = int(aa.sum()), int(preview.sum()), len(aa)
    text = (
        f"at eps {255 * seen.eps:.10g}/255 aa and its preview differ by {abs(only_aa - only_preview) / n:.1%} of {n} "
        f"images: aa breaks {only_aa} that the preview does not, the preview {only_preview} that aa does not"
    )
    return [RedFlag("preview", text, {"only_aa": only_aa, "only_preview": only_preview, "n": n})]


def of_large_budget(seen: Attacked) -> list[RedFlag]:
    """Return the flag that images raise which PGD leaves robust where Square shows that they are not."""
    pgd, square = seen.common("pgd", "square")
    left = int((~pgd).sum())
    text = f"{left} of {{n}} images withstand PGD at eps {255 * seen.eps:.10g}/255, and Square breaks {{hits}} of them"
    return _beyond("large-eps", text, square & ~pgd, AT_LARGE_EPS)


def of_what_is_left(seen: Attacked) -> tuple[str, ...]:
    """Return what to say where neither PGD nor Square breaks nearly all at a large budget."""
    pgd, square = seen.common("pgd", "square")
    left, n = int((~(pgd | square)).sum()), len(pgd)
    if wilson(left, n)[0] <= AT_LARGE_EPS:
        return ()
    at = f"{255 * seen.eps:.10g}/255"
    return (f"{left} of {n} images withstand PGD-20 and Square at eps {at}: robust, or hidden from both",)


def _beyond(name: str, text: str, mask: Tensor, allowed: float) -> list[RedFlag]:
    """Return the flag where the share of images in `mask` exceeds what is allowed, beyond doubt."""
    hits, n = int(mask.sum()), len(mask)
    if n < MIN_IMAGES or wilson(hits, n)[0] <= allowed:
        return []
    full = f"{text.format(hits=hits, n=n)} (allowed: {allowed:.0%})"
    return [RedFlag(name, full, {"hits": hits, "n": n, "allowed": allowed})]


def _beaten(name: str, text: str, one: Tensor, other: Tensor) -> list[RedFlag]:
    """Return the flag where the attack `one` beats `other`."""
    if not _beats(one, other):
        return []
    wins, losses, n = int((one & ~other).sum()), int((other & ~one).sum()), len(one)
    full = f"{text}: {wins} images that PGD does not, PGD {losses} that it does not, of {n}"
    return [RedFlag(name, full, {"only_it": wins, "only_pgd": losses, "n": n})]


def _beats(one: Tensor, other: Tensor) -> bool:
    """Say whether `one` breaks more images than `other`, beyond doubt."""
    wins, losses, n = int((one & ~other).sum()), int((other & ~one).sum()), len(one)
    return n >= MIN_IMAGES and wins - losses > LEAST_GAIN * n and wilson(wins, wins + losses)[0] > 0.5
