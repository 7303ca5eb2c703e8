"""Reports: results -> figures -> one self-contained HTML page."""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.report.page import report_evaluation, write_report

__all__ = ["report_evaluation", "write_report"]

export_lazily(__name__)
