r"""Formulas as MathML, which a browser draws without a script: $...$ in a line, ```math in a block, as git hosts do.

A formula that is no LaTeX fails the build.
"""

import re
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from math_core import LatexError, LatexToMathML
from pymdownx.superfences import SuperFencesException

INLINE = r"(?<![\\$\w])\$(?=\S)([^$\n]+?)(?<=\S)\$(?![\w$])"


class Formula(InlineProcessor):
    """$...$, hidden from Markdown, to which _ and * mean something else."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # type: ignore[override]  # noqa: N802
        """Return a place for the formula in the line, and what it covers."""
        return self.md.htmlStash.store(mathml(m[1], block=False)), m.start(0), m.end(0)


class MathML(Extension):
    """Formulas within lines; those in blocks are `fence`'s."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Look for formulas after code (190) and before all else."""
        md.inlinePatterns.register(Formula(INLINE, md), "formula", 185)


def fence(source: str, *_: Any, **__: Any) -> str:
    """Return the formula of a ```math block."""
    return f'<div class="formula">{mathml(source, block=True)}</div>'


def mathml(latex: str, *, block: bool) -> str:
    """Return `latex` as MathML; raise where it is no LaTeX, as the extension of blocks lets it pass."""
    try:
        return LatexToMathML(fancy_error=False).convert_with_local_state(latex, displaystyle=block)
    except LatexError as error:
        raise SuperFencesException(f"not LaTeX: {latex.strip()} ({error})") from error
