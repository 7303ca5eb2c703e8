"""Evaluation: how robust any classifier is, with how much certainty, and whether the number smells."""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.evaluation.alignment import gradient_alignment
    from fastbat.evaluation.attacked import AttackedModel, TestImages
    from fastbat.evaluation.diagnose import Diagnosis, diagnose
    from fastbat.evaluation.evaluate import evaluate
    from fastbat.evaluation.flags import RedFlag
    from fastbat.evaluation.interval import paired, wilson
    from fastbat.evaluation.landscape import flatness, loss_landscape
    from fastbat.evaluation.measures import correct, robust
    from fastbat.evaluation.record import Accuracy, Evaluation
    from fastbat.evaluation.request import ATTACKS, Theory
    from fastbat.evaluation.rounds import Plan
    from fastbat.runtime.modes import frozen

__all__ = [
    "ATTACKS",
    "Accuracy",
    "AttackedModel",
    "Diagnosis",
    "Evaluation",
    "Plan",
    "RedFlag",
    "TestImages",
    "Theory",
    "correct",
    "diagnose",
    "evaluate",
    "flatness",
    "frozen",
    "gradient_alignment",
    "loss_landscape",
    "paired",
    "robust",
    "wilson",
]

export_lazily(__name__)
