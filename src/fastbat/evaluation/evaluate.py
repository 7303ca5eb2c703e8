"""fastbat.evaluate: standard accuracy, RA-PGD and RA-AA of any classifier, checked before and after."""

import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

from torch import Tensor, nn

from fastbat.attacks import autoattack
from fastbat.attacks.ensemble import standard_parts
from fastbat.data import ImageSet, unit
from fastbat.evaluation.check import check_fit, check_request, first_device, gather
from fastbat.evaluation.frozen import frozen
from fastbat.evaluation.measures import adversarial, correct, robust_to_pgd
from fastbat.evaluation.record import Accuracy, Evaluation
from fastbat.progress import bar


def evaluate(
    model: nn.Module,
    data: tuple[Tensor, Tensor] | ImageSet | Iterable[Any],
    *,
    eps: float,
    attacks: Sequence[str] = ("clean", "pgd"),
    pgd_steps: int = 50,
    pgd_restarts: int = 10,
    limit: int | None = None,
    batch_size: int = 250,
    seed: int = 0,
) -> Evaluation:
    """Measure the accuracies of `model` under `attacks` within the Linf budget `eps` (on the [0, 1] scale).

    `model` maps images (B, C, H, W) in [0, 1] to logits (B, K), its normalisation inside; it is evaluated where its
    weights are, in eval mode and their own precision, and put back as it was. `data` is (x, y), or a loader of (x, y)
    or of objects with x and y, or an image set of `fastbat.data`; `limit` takes the first N images. Every attack starts
    from the images classified correctly. PGD's step is eps / 4 and its starts depend on (seed, restart, image) alone;
    AutoAttack's depend on `batch_size` too, as in its authors' code.

    Raises InputError before any attack: images not finite or outside [0, 1], labels outside the classes, a model that
    does not take the images, eps outside (0, 1], an unknown attack, counts below 1.
    """
    counts = {"pgd_steps": pgd_steps, "pgd_restarts": pgd_restarts, "batch_size": batch_size}
    attacks = (attacks,) if isinstance(attacks, str) else tuple(attacks)
    check_request(eps, attacks, counts if limit is None else counts | {"limit": limit}, seed)
    x, y = gather(data, limit)
    device, warnings = first_device(model, x), list[str]()
    with frozen(model):
        num_classes = check_fit(model, x, y, device)
        start = time.perf_counter()
        clean = correct(model, x, y, batch_size)
        accuracies = {"clean": Accuracy(int(clean.sum()), len(y), time.perf_counter() - start)}
        if "pgd" in attacks:
            start = time.perf_counter()
            with bar("PGD") as show:
                robust = robust_to_pgd(
                    model, x, y, clean, eps=eps, steps=pgd_steps, restarts=pgd_restarts, step=eps / 4,
                    seed=seed, batch_size=batch_size, show=show,
                )  # fmt: skip
            accuracies["pgd"] = Accuracy(int(robust.sum()), len(y), time.perf_counter() - start)
        if "aa" in attacks:
            start = time.perf_counter()
            with bar("AutoAttack") as show:
                x_adv, found, warnings = autoattack(
                    model, x, y, clean, eps=eps, num_classes=num_classes, device=device,
                    seed=seed, batch_size=batch_size, show=show,
                )  # fmt: skip
            broken = found & adversarial(model, x, x_adv, y, eps, batch_size)
            robust, rejected = clean & ~broken, int((found & ~broken).sum())
            accuracies["aa"] = Accuracy(int(robust.sum()), len(y), time.perf_counter() - start, rejected)
    settings: dict[str, Any] = {
        "seed": seed,
        "batch_size": batch_size,
        "precision": str(unit(x[:1]).dtype).removeprefix("torch."),
        "device": str(device),
    }
    if "pgd" in attacks:
        settings |= {
            "pgd_steps": pgd_steps,
            "pgd_restarts": pgd_restarts,
            "pgd_step_255": round(eps / 4 * 255, 6),
        }
    if "aa" in attacks:
        settings |= {"aa_parts": list(standard_parts(num_classes))}
    settings["versions"] = {name: version(name) for name in ("fastbat", "torch", "pyautoattack")}
    return Evaluation(eps, len(y), accuracies, settings, tuple(warnings))
