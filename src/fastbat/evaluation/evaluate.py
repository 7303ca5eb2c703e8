"""fastbat.evaluate: standard accuracy and accuracy under attacks of any classifier, checked before and after."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fastbat.attacks import standard_parts
from fastbat.data import ImageSet, fingerprint, unit
from fastbat.evaluation.blocks import Found, Job, Work
from fastbat.evaluation.check import check_models, check_new_file, check_request, first_device, gather
from fastbat.evaluation.flags import red_flags
from fastbat.evaluation.frozen import frozen
from fastbat.evaluation.journal import Journal
from fastbat.evaluation.measures import correct
from fastbat.evaluation.probe import gather_evidence, probes
from fastbat.evaluation.record import Accuracy, Evaluation
from fastbat.evaluation.rounds import Plan, expanded, label
from fastbat.evaluation.search import Precision, resolve_precision, searched
from fastbat.files import checksum, save_tensors
from fastbat.processes import rank


def evaluate(
    model: nn.Module,
    data: tuple[Tensor, Tensor] | ImageSet | Iterable[Any],
    *,
    eps: float | Sequence[float],
    attacks: Sequence[str] = ("clean", "pgd"),
    pgd_steps: int = 50,
    pgd_restarts: int = 10,
    surrogates: Mapping[str, nn.Module] | None = None,
    eot: int = 1,
    precision: Precision = "auto",
    limit: int | None = None,
    batch_size: int = 250,
    seed: int = 0,
    resume_in: Path | None = None,
    save_adversarial: Path | None = None,
) -> Evaluation:
    """Measure the accuracies of `model` under `attacks` within the Linf budget `eps` (on the [0, 1] scale).

    `model` maps images (B, C, H, W) in [0, 1] to logits (B, K), its normalisation inside; it is evaluated where its
    weights are, in eval mode, and put back as it was. `data` is (x, y), or a loader of (x, y) or of objects with x and
    y, or an image set of `fastbat.data`; `limit` takes the first N images. `attacks` are names of ATTACKS; transfer
    needs `surrogates`, networks by name. A sequence of `eps` gives the curve. Every attack starts from the images
    classified correctly, and an example counts only if the model misclassifies it in its own precision.

    `precision` is that of the search: bf16 where the device multiplies in bf16 (auto), or float32 throughout. `eot`
    climbs the mean logits of so many passes, for a model that is random. `resume_in` is a folder in which finished
    blocks are kept until the evaluation is complete, so that the same call goes on after an interruption;
    `save_adversarial` a .safetensors file for the verified examples: ATTACK@EPS/BLOCK/x, /y and /index.

    Raises InputError before any attack: images not finite or outside [0, 1], labels outside the classes, a model that
    does not take the images, eps outside (0, 1], an unknown attack, counts below 1.
    """
    attacks = (attacks,) if isinstance(attacks, str) else tuple(dict.fromkeys(attacks))
    budgets: tuple[float, ...] = tuple(eps) if isinstance(eps, list | tuple) else (eps,)  # type: ignore[assignment]
    surrogates = dict(surrogates or {})
    counts = {"pgd_steps": pgd_steps, "pgd_restarts": pgd_restarts, "batch_size": batch_size, "eot": eot}
    check_request(budgets, attacks, counts if limit is None else counts | {"limit": limit}, seed, surrogates)
    if save_adversarial is not None:
        check_new_file(save_adversarial)
    folder = resume_in or (save_adversarial and save_adversarial.parent)
    x, y = gather(data, limit)
    with frozen(model, *surrogates.values()):
        num_classes, white_box = check_models(model, surrogates, x, y, attacks)
        device = first_device(model, x)
        plan = Plan(budgets[0], num_classes, seed, pgd_steps, pgd_restarts, surrogates=surrogates)
        asked = [Job(name, replace(plan, eps=at), len(y)) for at in budgets for name in expanded(attacks, surrogates)]
        largest = replace(plan, eps=max(budgets))
        added = probes(largest, len(y), asked) if asked and white_box else []
        settings: dict[str, Any] = {
            **counts,
            "seed": seed,
            "precision": resolve_precision(precision, unit(x[:1]).dtype, device, white_box),
            "device": str(device),
            "aa_parts": list(standard_parts(num_classes)),
            "weights": checksum(model.state_dict(), ""),
            "surrogates": {name: checksum(each.state_dict(), "") for name, each in surrogates.items()},
            "images": fingerprint(x.cpu(), y.cpu()),
            "versions": {name: version(name) for name in ("fastbat", "torch", "pyautoattack")},
        }
        keep, names = save_adversarial is not None, {job.name: job.n for job in (*asked, *added)}
        journal = Journal(folder, {**settings, "jobs": names, "examples": keep})
        start = time.perf_counter()
        clean = correct(model, x, y, batch_size).cpu()
        clean_found = Found(~clean, 0, time.perf_counter() - start)
        search = searched(model, settings["precision"], eot)
        work = Work(model, search, x, y, clean, batch_size, journal, keep)
        found = {job.name: work.run(job) for job in (*asked, *added)}
        flags, not_judged = red_flags(gather_evidence(work, found, largest.eps, white_box)) if asked else ((), ())
    if rank() == 0:
        if save_adversarial is not None:
            save_adversarial.parent.mkdir(parents=True, exist_ok=True)
            save_tensors(save_adversarial, journal.examples(), {"settings": settings})
        journal.remove()
    rows = [("clean", 0.0, clean_found), *((job.attack, job.plan.eps, found[job.name]) for job in asked)]
    accuracies = tuple(accuracy(plan, *row, clean, y.cpu(), white_box) for row in rows)
    return Evaluation(len(y), accuracies, flags, not_judged, settings)


def accuracy(plan: Plan, attack: str, eps: float, found: Found, clean: Tensor, y: Tensor, white_box: bool) -> Accuracy:
    """Return what is left of the clean images, in all and by class."""
    right = clean & ~found.broken
    per_class = [right[y == k].float().mean().item() * 100 if (y == k).any() else None for k in range(plan.num_classes)]
    return Accuracy(
        attack, label(attack, plan.steps, plan.restarts), eps, int(right.sum()), len(y), found.seconds, found.rejected,
        tuple(per_class), not white_box and attack != "clean",
    )  # fmt: skip
