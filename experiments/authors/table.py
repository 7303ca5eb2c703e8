"""Print the table of README.md from authors.json.

python experiments/authors/table.py
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import table

HERE = Path(__file__).parent


def main() -> None:
    """Print the table."""
    print(tables())


def tables() -> str:
    """Return the table of the page."""
    heads = ["method or network", "authors' file", "away from 0 and 1", "real crops", "remark"]
    rows = json.loads((HERE / "authors.json").read_text())["rows"]
    return table(
        heads,
        (
            [
                row["name"],
                f"{row['checkout']}: {Path(row['file']).name}",
                f"{row['away']:.1e}",
                f"{row['real']:.1e}",
                row["remark"],
            ]
            for row in rows
        ),
    )


if __name__ == "__main__":
    main()
