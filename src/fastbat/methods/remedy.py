"""What a training goes on with after a method collapsed: PGD-AT of more steps, with steps of eps / steps."""

from fastbat.methods.method import Method
from fastbat.methods.pgd_at import PgdAT

STEPS = (2, 4, 8, 16)


def remedy(method: Method) -> Method | None:
    """Return the remedy for a collapse under `method`, which may be a remedy itself; None beyond the last."""
    return next((remedy_of(steps, method.eps) for steps in STEPS if steps > steps_of(method)), None)


def remedy_of(steps: int, eps: float) -> Method:
    """Return the remedy of so many `steps`."""
    return PgdAT(eps, steps=steps, step=eps / steps)


def steps_of(method: Method) -> int:
    """Return the steps of a remedy, or of PGD-AT; 1 of any other method."""
    return method.steps if isinstance(method, PgdAT) else 1


def describe_remedy(method: Method) -> str:
    """Return a remedy in words."""
    return f"PGD-AT with {steps_of(method)} steps of eps / {steps_of(method)}"
