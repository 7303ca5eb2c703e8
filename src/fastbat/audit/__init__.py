"""Audit: from any model on disk, whoever trained it, to a record of how robust it is."""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.audit.audit import diagnose_target, evaluate_target
    from fastbat.audit.measure import diagnose, evaluate
    from fastbat.audit.origin import Origin

__all__ = ["Origin", "diagnose", "diagnose_target", "evaluate", "evaluate_target"]

export_lazily(__name__)
