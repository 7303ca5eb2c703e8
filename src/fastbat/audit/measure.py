"""fastbat.evaluate and fastbat.diagnose: of a network in memory, or of whatever `fastbat evaluate` takes by name."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fastbat import evaluation
from fastbat.audit.audit import diagnose_target, evaluate_target
from fastbat.data import ImageSet
from fastbat.errors import InputError
from fastbat.evaluation import Evaluation
from fastbat.training import Run


def evaluate(
    what: nn.Module | Run | Path | str,
    data: tuple[Tensor, Tensor] | ImageSet | Iterable[Any] | None = None,
    *,
    eps: float | Sequence[float] | None = None,
    attacks: str | Iterable[str] = ("clean", "pgd"),
    limit: int | None = None,
    **how: Any,
) -> Evaluation:
    """Measure standard accuracy and accuracy under attacks within the Linf budget `eps`.

        fastbat.evaluate(model, (x, y), eps=8 / 255, attacks="clean,pgd,aa")
        fastbat.evaluate(run)                             # on the test images of its data set, at its own eps
        fastbat.evaluate("theirs.pt", eps=8 / 255, origin=Origin(model="preactresnet18", dataset="cifar10"))

    Args:
        what: a network from images (B, C, H, W) in [0, 1] to logits (B, K), its normalisation inside; or a target: a
            run or its directory, a file, timm/NAME or module:function.
        data: of a network: (x, y), or a loader of (x, y) or of objects with x and y.
        eps: on the [0, 1] scale, or several; of a run its own unless given. The attack clean alone needs none.
        attacks: names with commas between them, or in a list (`fastbat list attacks`).
        limit: the first N images; None for all.
        how: more of `fastbat.evaluation.evaluate` (pgd_steps, pgd_restarts, surrogates, precision, batch_size, seed,
            resume_in, save_adversarial, ...); for a target more of `fastbat.audit.evaluate_target` (checkpoint,
            origin, data_dir, device, out).

    Returns:
        The accuracies with n and intervals, red flags, and what it all depends on.

    Raises:
        InputError: Before any attack, if model, images, budget or attacks do not fit each other.
    """
    how |= {"attacks": attacks, "limit": limit}
    if isinstance(what, Run | Path | str):
        if data is not None:
            raise InputError("a target is measured on the test images of its data set; leave data out, or give a model")
        return evaluate_target(what, eps=eps, **how)  # type: ignore[arg-type]
    if data is None and isinstance(what, nn.Module):
        raise InputError("a network is measured on images of yours: evaluate(model, (x, y), eps=8 / 255)")
    return evaluation.evaluate(what, data, eps=eps, **how)


def diagnose(what: Run | Path | str, out: Path | str, **how: Any) -> dict[str, Any]:
    """Look closer at a run or another target; write what is found into the folder `out`, and return it.

    Args:
        what: a run or its directory, a file, timm/NAME or module:function.
        out: a folder: gradient alignment, loss landscape, the smallest eps that breaks each image.
        how: more of `fastbat.audit.diagnose_target` (checkpoint, origin, eps, limit, image, examples, data_dir, ...);
            theory=fastbat.evaluation.Theory(...) adds what it asks of the paper's Appendix E, for a FAST-BAT run.

    Raises:
        InputError: If target, weights or data are missing, or the model has no gradient.
    """
    return diagnose_target(what, out, **how)
