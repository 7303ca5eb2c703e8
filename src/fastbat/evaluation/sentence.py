"""The sentence to quote an evaluation with: of what, on which images, by which attacks, and how sure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbat.evaluation.record import Accuracy, Evaluation

SHORT = 12  # digits of a checksum


def sentence_of(result: Evaluation) -> str:
    """Return what to write where the numbers of `result` are quoted."""
    about = result.settings
    numbers = ", ".join(map(number, result.accuracies))
    what = f"{about.get('target', 'The model')} (SHA-256 {about.get('sha256', about['weights'])[:SHORT]})"
    which = f"{images(result)} (SHA-256 {about['images'][:SHORT]})"
    how = [
        *result.parts(),
        *result.previewed(),
        "Wilson's 95 % intervals",
        flags(result),
        f"seed {about['seed']}, {precision(about)}",
    ]
    return f"{what}: {numbers}, on {which}; {'; '.join([*how, packages(about['versions'])])}."


def number(accuracy: Accuracy) -> str:
    """Return an accuracy with its interval and its budget."""
    low, high = accuracy.interval
    bound = "at most " if accuracy.upper_bound else ""
    at = f" at Linf eps {255 * accuracy.eps:.6g}/255" if accuracy.eps else ""
    return f"{accuracy.label} {bound}{accuracy.percent:.1f} % [{low:.1f}, {high:.1f}]{at}"


def images(result: Evaluation) -> str:
    """Return how many images of what, and whether they are all of its test split."""
    n, of = result.n, result.settings.get("test_images", result.n)
    count = f"all {n:,}" if n == of else f"the first {n:,} of {of:,}"
    return f"{count} test images of {result.settings['dataset']}" if "dataset" in result.settings else f"{n:,} images"


def flags(result: Evaluation) -> str:
    """Return the names of the red flags, or that there are none, or were none to be judged."""
    names = ", ".join(dict.fromkeys(flag.name for flag in result.red_flags))
    judged = any(accuracy.eps for accuracy in result.accuracies) and not result.not_judged
    return f"red flags: {names}" if names else "no red flags" if judged else "red flags not judged"


def precision(about: Mapping[str, Any]) -> str:
    """Return the precision of the search, if there was one, and that of the check if it is another."""
    if about["precision"] != "bf16":
        return f"in {about['precision']}"
    return "in float32" if about["attacks"] == ["clean"] else "search in bf16, verified in float32"


def packages(used: Mapping[str, Any]) -> str:
    """Return the versions of what the numbers depend on."""
    commit = f" ({used['commit']})" if used.get("commit") else ""
    return f"fastbat {used['fastbat']}{commit}, torch {used['torch']}, pyautoattack {used['pyautoattack']}"
