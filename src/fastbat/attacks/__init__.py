"""Attacks on an Linf budget: the input gradient they climb, PGD, and AutoAttack."""

from fastbat.attacks.ensemble import autoattack
from fastbat.attacks.gradient import input_gradient
from fastbat.attacks.pgd import pgd
from fastbat.attacks.survivors import survivors

__all__ = ["autoattack", "input_gradient", "pgd", "survivors"]
