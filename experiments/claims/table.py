"""Print the table of README.md: the paper's claims that something was measured of here.

python experiments/claims/table.py
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from fastbat.results import claims
from page import table

EXPERIMENTS = Path(__file__).resolve().parents[1]
MEASURED = [path.parent for path in sorted(EXPERIMENTS.glob("*/results.jsonl"))]  # all on the paper's network


def main() -> None:
    """Print the table, and how many claims it leaves out."""
    print(tables())
    found = claims(*MEASURED)
    for verdict in sorted({claim["verdict"] for claim in found}):
        print(sum(claim["verdict"] == verdict for claim in found), verdict)


def tables() -> str:
    """Return the table of the page."""
    heads = ["claim", "here", "comparisons: held, made, of all", "the paper's own numbers support it"]
    return table(heads, (row(claim) for claim in claims(*MEASURED) if claim["made"]))


def row(claim: dict[str, Any]) -> list[object]:
    """Return the cells of a claim."""
    verdict = claim["verdict"] if claim["verdict"] == "cannot be decided" else f"**{claim['verdict']}**"
    return [claim["claim"], verdict, f"{claim['held']}, {claim['made']}, {claim['of']}", claim["supported"]]


if __name__ == "__main__":
    main()
