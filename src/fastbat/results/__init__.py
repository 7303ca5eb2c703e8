"""Results: records on disk -> trials, rows over seeds, places, and the same as plain tables."""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.results.claims import claims
    from fastbat.results.gradients import gradients
    from fastbat.results.table import ENDINGS, differences, table, write_table

__all__ = ["ENDINGS", "claims", "differences", "gradients", "table", "write_table"]

export_lazily(__name__)
