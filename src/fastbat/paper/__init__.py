"""The paper's printed numbers as data (tables.toml), and which of them a training of ours is to be read beside."""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.paper.cells import Printed, arm_of, cells, claims_of_the_paper, of_arm, printed, prints, scale

__all__ = ["Printed", "arm_of", "cells", "claims_of_the_paper", "of_arm", "printed", "prints", "scale"]

export_lazily(__name__)
