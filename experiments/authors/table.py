"""Print the table of README.md from authors.json.

python experiments/authors/table.py
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import table

HERE = Path(__file__).parent
NETWORKS = ("preactresnet18", "wideresnet-16-8-released")


def main() -> None:
    """Print the table."""
    print(tables())


def tables() -> str:
    """Return the table of the page."""
    heads = ["method or network", "authors' code", "away from 0 and 1", "real crops", "remark"]
    rows = json.loads((HERE / "authors.json").read_text())["rows"]
    methods = [row for row in rows if row["name"] not in (*NETWORKS, "fast-bat, hessian-free")]
    return table(
        heads, (*(line(row["name"], [row]) for row in methods), *(of_network(rows, name) for name in NETWORKS))
    )


def of_network(rows: list[dict[str, Any]], name: str) -> list[str]:
    """Return the line of a network in all codes that have it."""
    return line(name, [row for row in rows if row["name"] == name])


def line(name: str, rows: list[dict[str, Any]]) -> list[str]:
    """Return the line of some rows: the largest of their differences."""
    codes = ", ".join(row["checkout"] for row in rows)
    away, real = (f"{max(row[which] for row in rows):.1e}" for which in ("away", "real"))
    return [name, codes, away, real, "; ".join(dict.fromkeys(filter(None, (row["remark"] for row in rows))))]


if __name__ == "__main__":
    main()
