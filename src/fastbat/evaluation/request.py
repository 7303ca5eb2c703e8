"""What is asked of an evaluation: attacks by name, budgets, counts; refused before a model or an image is opened."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from operator import index
from pathlib import Path
from typing import Any, Literal

from fastbat.errors import InputError, choose
from fastbat.files import check_writable
from fastbat.geometry import check_eps

Precision = Literal["auto", "float32", "bf16"]

ATTACKS = {
    "clean": "SA: accuracy on the images as they are",
    "noise": "RA-noise: uniform noise of eps",
    "fgsm": "RA-FGSM: one signed step of eps",
    "pgd": "RA-PGD-K-R: K signed steps of eps / 4 from uniform starts, R restarts",
    "pgd-highest-loss": "the same, judged by the restart of highest loss alone, as the released code does; slower",
    "aa": "RA-AA: AutoAttack standard (apgd-ce, apgd-t, fab-t, square)",
    "preview": "RA-preview: a cheap guess at RA-AA, by the margins to the five likeliest wrong classes",
    "apgd-ce": "AutoAttack's APGD on cross-entropy",
    "apgd-t": "AutoAttack's targeted APGD",
    "fab-t": "AutoAttack's targeted FAB",
    "square": "AutoAttack's Square: black-box, 5,000 queries",
    "transfer": "RA-transfer: PGD-20 made on each of --surrogates; black-box",
}
BLACK_BOX = ("clean", "noise", "square", "transfer")  # need no gradient of the model


def budgets_of(eps: Any) -> tuple[float, ...]:
    """Return the budgets `eps`: a number on the [0, 1] scale, or several in whatever holds them; of any library."""
    if hasattr(eps, "tolist"):  # NumPy's and torch's
        eps = eps.tolist()
    several = isinstance(eps, Iterable) and not isinstance(eps, str | bytes)
    budgets = list(eps) if several else [] if eps is None else [eps]
    if not budgets:
        raise InputError("no eps is given; name at least one budget on the [0, 1] scale, such as 8/255")
    for each in budgets:
        if isinstance(each, bool) or not isinstance(each, Real):
            raise InputError(f"eps is a {type(each).__name__}; it must be a number on the [0, 1] scale, such as 8/255")
        check_eps(float(each))
    written = [f"{255 * float(each):.10g}/255" for each in budgets]
    if len(set(written)) < len(written):
        raise InputError(f"eps holds the same budget twice: {', '.join(written)}")
    return tuple(float(each) for each in budgets)


def attacks_of(attacks: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names of attacks in their order, each once; text has commas between them."""
    if not isinstance(attacks, Iterable):
        raise InputError(f"attacks are a {type(attacks).__name__}; name them, such as clean,pgd")
    names = filter(None, map(str.strip, attacks.split(","))) if isinstance(attacks, str) else attacks
    found = dict.fromkeys(choose("attack", str(name).strip(), ATTACKS) for name in names)
    if not found:
        raise InputError(f"no attacks are named; known: {', '.join(ATTACKS)}")
    return tuple(found)


def whole(name: str, number: Any) -> int:
    """Return a whole number, of whatever library, of at least 1."""
    try:
        found = index(number)
    except TypeError:
        found = 0
    if found < 1 or isinstance(number, bool):
        raise InputError(f"{name} is {number}; it must be a whole number of at least 1")
    return found


@dataclass(frozen=True)
class Theory:
    """What is measured of Appendix E."""

    noise_at: tuple[int, ...] = ()
    """Sizes of mini-batches whose gradient is measured next to that of all images."""
    decay_over: tuple[int, ...] = ()
    """Numbers of steps of plain SGD, over each of which the gradient is measured."""
    train_images: int = 8192
    """The first N training images: all that there are for it."""
    draws: int = 50
    """Mini-batches of each size."""

    def __post_init__(self) -> None:
        for name in ("noise_at", "decay_over"):
            sizes = tuple(whole(name, number) for number in getattr(self, name))
            if len(set(sizes)) < len(sizes):
                raise InputError(f"{name} holds the same number twice: {', '.join(map(str, sizes))}")
            object.__setattr__(self, name, sizes)
        whole("train_images", self.train_images)
        if whole("draws", self.draws) < 2:
            raise InputError(f"draws is {self.draws}; a variance needs at least 2")
        if (most := max(self.noise_at, default=0)) > self.train_images:
            raise InputError(f"noise_at holds {most}, above train_images, which is {self.train_images}")

    @property
    def asked(self) -> bool:
        """Whether anything is."""
        return bool(self.noise_at or self.decay_over)


def check_seed(seed: Any) -> int:
    """Return a seed as a whole number of Python's; InputError unless 0 <= seed < 2^63."""
    try:
        found = index(seed)
    except TypeError:
        found = -1
    if isinstance(seed, bool) or not 0 <= found < 2**63:
        raise InputError(f"seed is {seed}; it must be a whole number from 0 to 2^63 - 1")
    return found


def check_surrogates(attacks: Sequence[str], surrogates: Any) -> None:
    """Raise InputError unless there are `surrogates` by name where transfer is among the attacks, and only there."""
    if not isinstance(surrogates, Mapping):
        raise InputError(f"surrogates are a {type(surrogates).__name__}; give them by name: {{'resnet': network}}")
    if ("transfer" in attacks) != bool(surrogates):
        have = "but no surrogates" if not surrogates else "but transfer is not among the attacks"
        raise InputError(f"attacks are {', '.join(attacks)}, {have}; transfer needs networks to attack first")
    for name in surrogates:
        if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+", name):
            raise InputError(f"a surrogate is called {name!r}; name it with letters, digits, and _ . + -")


def check_examples_file(file: Path) -> None:
    """Raise InputError unless `file` can be written as safetensors, over nothing or over a file."""
    if file.suffix != ".safetensors":
        raise InputError(f"{str(file)!r} must end in .safetensors, which is what adversarial examples are saved as")
    check_writable(file.parent)
