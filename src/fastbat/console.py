"""Tables for people, on stdout: whole where no terminal shows them, without what matters least in a narrow one.

A cell is broken only in a column of text, and into parts of TEXT characters at least.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import HEAVY_HEAD, Box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fastbat.plain import plain_text

TEXT = 16
ANY_TABLE = 10_000  # characters


@dataclass(frozen=True)
class Rows:
    """A table of texts that rich prints."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: Sequence[str] = ()  # heads of columns that may be broken
    least: Sequence[str] = ()  # heads of columns that may be left out, the first of them first
    title: str = ""
    caption: str = ""
    box: Box = HEAVY_HEAD

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for n in range(len(self.least) + 1):
            heads = [head for head in self.heads if head not in self.least[:n]]
            table = self.table(heads, options.max_width)
            whole = Measurement.get(console, options.update(max_width=ANY_TABLE), table).maximum
            needed = whole - sum(max(0, self.widest(head) - TEXT) for head in heads if head in self.text)
            if needed <= options.max_width:
                break
        yield from console.render(table, options.update(max_width=max(needed, options.max_width)))
        if left_out := [head for head in self.heads if head not in heads]:
            yield Text(f"left out, for the terminal is narrow: {', '.join(left_out)}")

    def table(self, heads: Sequence[str], most: int) -> Table:
        """Return the table of these columns alone, wide enough for its title if that is at most `most`."""
        title, caption = (text and Text(plain_text(text)) for text in (self.title, self.caption))
        table = Table(title=title, caption=caption, box=self.box, min_width=min(most, cell_len(self.title)))
        for head in heads:
            table.add_column(Text(head), no_wrap=head not in self.text, overflow="fold")
        for row in self.rows:
            shown = (cell for head, cell in zip(self.heads, row, strict=True) if head in heads)
            table.add_row(*map(Text, map(plain_text, shown)))
        return table

    def widest(self, head: str) -> int:
        """Return the width of a column that is not broken."""
        place = self.heads.index(head)
        return max(map(cell_len, (head, *(row[place] for row in self.rows))))


def stdout() -> Console:
    """Return a console on stdout, as wide as any table where that is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=ANY_TABLE)


def print_rows(heads: Iterable[str], rows: Iterable[Sequence[str]], **how: Any) -> None:
    """Print a table; `how` are further fields of Rows."""
    stdout().print(Rows(list(heads), list(rows), **how), soft_wrap=True)
