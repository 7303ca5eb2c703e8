"""Attacks on an Linf budget: the input gradient they climb, PGD, the parts of AutoAttack, and a preview of it."""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.attacks.ensemble import PARTS, autoattack_part, standard_parts
    from fastbat.attacks.gradient import input_gradient
    from fastbat.attacks.inside import Inside, inside
    from fastbat.attacks.pgd import pgd
    from fastbat.attacks.preview import preview

__all__ = ["PARTS", "Inside", "autoattack_part", "input_gradient", "inside", "pgd", "preview", "standard_parts"]

export_lazily(__name__)
