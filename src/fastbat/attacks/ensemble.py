"""AutoAttack (Croce & Hein, 2020), standard version, Linf: apgd-ce, apgd-t, fab-t, square, as pyautoattack computes it.

The loop over parts and batches is ours, so that it can show progress; it cuts the work exactly as pyautoattack's own
loop does, and each batch is pyautoattack's own computation. So the result is the same to the bit.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

from fastbat.attacks.survivors import survivors
from fastbat.data import unit
from fastbat.progress import Show

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
TARGETED = ("apgd-t", "fab-t")
SQUARE_ALARM = 0.002  # pyautoattack warns where Square breaks more than this share beyond the gradient attacks
MIN_CLASSES_TARGETED = 4  # the targeted DLR loss divides by a difference with the 4th largest logit


def standard_parts(num_classes: int) -> tuple[str, ...]:
    """Return the parts of the standard version that work with this many classes, strongest cheap part first."""
    return tuple(part for part in STANDARD if part not in TARGETED or num_classes >= MIN_CLASSES_TARGETED)


def autoattack(
    model: nn.Module,  # eval mode, weights frozen
    x: Tensor,  # (N, C, H, W) in [0, 1], or bytes
    y: Tensor,  # (N,)
    correct: Tensor,  # (N,) bool: the images still classified correctly
    *,
    eps: float,
    num_classes: int,
    device: torch.device,
    seed: int = 0,
    batch_size: int = 250,
    show: Show = lambda share, text: None,
) -> tuple[Tensor, Tensor, list[str]]:
    """Attack the correct images; return x_adv (N, C, H, W), broken (N,) bool, and pyautoattack's warnings.

    Reseeds torch's global generators.
    """
    attack = AutoAttack(model, eps=eps, seed=seed, device=device)
    attack.verbose = False
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(9, num_classes - 1)
    x_adv, robust = unit(x).clone(), correct.clone()
    with _collected_warnings() as warnings:
        parts = standard_parts(num_classes)
        if parts != STANDARD:
            warnings.append(
                f"{', '.join(TARGETED)} left out: they need {MIN_CLASSES_TARGETED} classes, not {num_classes}"
            )
        for i, part in enumerate(parts):
            attack.attacks_to_run = [part]
            before = int(robust.sum())
            batches = survivors(robust, batch_size)
            for j, batch in enumerate(batches):
                show(
                    (i + j / len(batches)) / len(parts),
                    f"AutoAttack {part}: {int(robust.sum())} of {len(y)} robust",
                )
                found_x, found_y = attack.run_standard_evaluation(unit(x[batch]), y[batch], batch_size=len(batch))
                broken = batch[found_y != y[batch]]
                x_adv[broken] = found_x[found_y != y[batch]]
                robust[broken] = False
            if part == "square" and before - int(robust.sum()) > SQUARE_ALARM * len(y):
                share = (before - int(robust.sum())) / len(y)
                warnings.append(f"Square, a black-box attack, broke {share:.1%} more: gradients may be masked")
    return x_adv, correct & ~robust, warnings


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Collect what pyautoattack warns of, each text once, instead of printing it once a batch."""
    texts: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = " ".join(record.getMessage().split())
            if text not in texts:
                texts.append(text)

    trace = sys.gettrace()  # pyautoattack's check for dynamic models ends a debugger's or a coverage tool's trace
    logger, handler = logging.getLogger("auto-attack"), Collector(logging.WARNING)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield texts
    finally:
        logger.removeHandler(handler)
        sys.settrace(trace)
        logger.propagate = propagate
