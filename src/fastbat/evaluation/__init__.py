"""Evaluation: how robust any classifier is, with how much certainty."""

from fastbat.evaluation.alignment import gradient_alignment
from fastbat.evaluation.check import ATTACKS
from fastbat.evaluation.evaluate import evaluate
from fastbat.evaluation.frozen import frozen
from fastbat.evaluation.measures import correct, robust_to_pgd
from fastbat.evaluation.record import Accuracy, Evaluation, wilson

__all__ = [
    "ATTACKS",
    "Accuracy",
    "Evaluation",
    "correct",
    "evaluate",
    "frozen",
    "gradient_alignment",
    "robust_to_pgd",
    "wilson",
]
