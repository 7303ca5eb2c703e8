"""Catastrophic overfitting (Wong et al., 2020; Sec. 5.2): the net learns to read the one-step attack it is shown.

Its accuracy under that attack stays or rises while its accuracy under PGD falls to nothing. A sound net loses a few
points from one step to ten; one that has collapsed loses most of them, and that gap is what is looked for: it needs no
earlier epoch to compare with, so a net that collapses in its first epoch is caught as well.
"""

from fastbat.methods import Method, PgdAT

STEP_RATIO = 1.25  # the one step is FAST-AT's: from a uniform start, 1.25 eps
MOST_STEPS = 16


def has_collapsed(one_step: float, ra: float, n: int) -> bool:
    """Say whether accuracies in percent on `n` images, under one step and under PGD, are those of a collapse.

    Under PGD there is less than half of the accuracy under one step, and the gap is above 5 points and 10 images.
    """
    return ra < one_step / 2 and one_step - ra > max(5.0, 1000 / n)


def remedy(method: Method) -> PgdAT | None:
    """Return what to go on with after a collapse under `method`: PGD-AT with twice its steps, at most MOST_STEPS."""
    steps = 2 * (method.steps if isinstance(method, PgdAT) else 1)
    return pgd_at(method.eps, steps) if steps <= MOST_STEPS else None


def pgd_at(eps: float, steps: int) -> PgdAT:
    """Return PGD-AT with `steps` steps of eps / steps."""
    return PgdAT(eps, steps=steps, step=eps / steps)
