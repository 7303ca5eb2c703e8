"""What a file says of its own accuracy, against what was measured: the figures that the measurement excludes.

A figure counts as an accuracy on test images if every word of its name is known: test_acc, best_prec1, robust_accuracy.
One without attacks is excluded outside the interval of SA, unless it fits an accuracy under attack. One under attacks
is excluded above the interval of the strongest attack with the smallest budget: the file says neither.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastbat.audit.readings import IMAGES, Reading, other_readings
from fastbat.data import ImageSet
from fastbat.evaluation import Accuracy, Evaluation, TestImages, correct, frozen
from fastbat.evaluation.sentence import images, number
from fastbat.progress import bar

ACCURACY = {"acc", "accuracy", "prec", "top", "sa", "ra"}
STANDARD = {"test", "eval", "best", "last", "final", "clean", "nat", "natural", "standard", "std", "1"}
ROBUST = {"robust", "adv", "adversarial", "attack", "pgd", "autoattack", "aa", "ra"}


@dataclass(frozen=True)
class Claim:
    """An accuracy that a file says it has."""

    name: str
    percent: float
    rounding: float
    """Points by which it may be rounded."""
    robust: bool

    def lies_in(self, low: float, high: float) -> bool:
        """Return whether it may lie between two percentages."""
        return low - self.rounding <= self.percent <= high + self.rounding


def claims(says: Mapping[str, Any]) -> Iterator[Claim]:
    """Yield the accuracies among what a file says of itself, in percent or as fractions."""
    for name, value in says.items():
        words, text = words_of(name), str(value).strip().removesuffix("%")
        known = words & ACCURACY and words <= ACCURACY | STANDARD | ROBUST
        if not known or not re.fullmatch(r"\d+(\.\d+)?", text):
            continue
        scale, digits = 100 if float(text) <= 1 else 1, len(text.partition(".")[2])
        if 0 < (percent := scale * float(text)) <= 100:
            yield Claim(name, percent, scale * 0.5 * 10.0**-digits, bool(words & ROBUST))


def words_of(name: str) -> set[str]:
    """Return the words of a name such as best_prec1 or testAcc, in lower case; the steps of PGD are left out."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return set(re.findall(r"[a-z]+|\d+", re.sub(r"(pgd)[\W_]*\d+([\W_]+\d+)?", r"\1 ", spaced)))


def excluded_by(claim: Claim, result: Evaluation) -> Accuracy | None:
    """Return the accuracy that excludes a claim, None where none does."""
    attacked = [accuracy for accuracy in result.accuracies if accuracy.eps]
    if not claim.robust:
        fits = any(claim.lies_in(*accuracy.interval) for accuracy in result.accuracies)
        return None if fits else result.sa
    if not attacked:
        return None
    strongest = min(attacked, key=lambda accuracy: (accuracy.eps, accuracy.hits))
    return None if claim.lies_in(0, strongest.interval[1]) else strongest


def contradictions(
    says: Mapping[str, Any], result: Evaluation, reading: Reading, test: ImageSet, batch_size: int
) -> list[dict[str, Any]]:
    """Return the claims that `result`, measured on the first images of `test`, excludes, each with a line in words."""
    found = [(claim, accuracy) for claim in claims(says) if (accuracy := excluded_by(claim, result))]
    if all(claim.robust for claim, _ in found):
        return [described(claim, accuracy, result, {}) for claim, accuracy in found]
    others = standard_accuracies(reading, test.slice(0, result.n), result.settings["dataset"], batch_size)
    return [described(claim, accuracy, result, {} if claim.robust else others) for claim, accuracy in found]


def standard_accuracies(reading: Reading, test: ImageSet, dataset: str, batch_size: int) -> dict[str, Accuracy]:
    """Return SA under the other readings of a model."""
    stored = test.decoded()
    found, accuracies = TestImages.of(stored.pixels, stored.labels, reading.model), {}
    readings = other_readings(reading, found.batch(slice(IMAGES))[0], dataset)
    with frozen(*readings.values()), bar("other readings") as show:
        for i, (how, model) in enumerate(readings.items()):
            show(i / len(readings), f"SA {how}")
            start, hits = time.perf_counter(), int(correct(model, found, batch_size).sum())
            accuracies[how] = Accuracy("clean", "SA", 0.0, hits, len(found), time.perf_counter() - start)
    return accuracies


def described(claim: Claim, accuracy: Accuracy, result: Evaluation, others: Mapping[str, Accuracy]) -> dict[str, Any]:
    """Return a claim that `accuracy` excludes as a JSON-ready object, with its line in words."""
    says = f"{result.settings['target']} says {claim.name} {claim.percent:.6g} %"
    measured = f"but measured is {number(accuracy)}, on {images(result)}"
    return {
        "text": f"{says}, {measured}. {cause(claim, accuracy, others)}",
        "claim": claim.name,
        "claimed": claim.percent,
        "attack": accuracy.attack,
        "eps_255": round(255 * accuracy.eps, 6),
        "percent": round(accuracy.percent, 4),
        "interval": [round(end, 4) for end in accuracy.interval],
        "other_readings": {how: round(other.percent, 4) for how, other in others.items()},
    }


def cause(claim: Claim, accuracy: Accuracy, others: Mapping[str, Accuracy]) -> str:
    """Return in words what may be the reason."""
    if claim.robust:
        return "The claim is wrong, or of a smaller budget, a weaker attack, other images or another epoch."
    fitting = {how: other for how, other in others.items() if claim.lies_in(*other.interval)}
    if fitting:
        how = min(fitting, key=lambda how: abs(fitting[how].percent - claim.percent))
        return f"It fits {how} ({number(fitting[how])}): try that, if it was trained so."
    attacked = "an attack, " if claim.percent < accuracy.percent else ""
    tried = f" ({len(others)} tried, none fits)" if others else ""
    return f"The claim is wrong, or of {attacked}other images, another epoch or another reading{tried}."
