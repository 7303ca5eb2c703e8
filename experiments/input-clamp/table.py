"""Print the tables of README.md: robust accuracies with and without a clamp, and gradients at the border.

python experiments/input-clamp/table.py
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import table

HERE = Path(__file__).parent
LABELS = {"fgsm": "FGSM", "pgd": "PGD", "apgd-ce": "APGD-CE", "apgd-t": "APGD-T", "fab-t": "FAB-T", "square": "Square"}


def main() -> None:
    """Print the tables."""
    print(tables())


def tables() -> str:
    """Return the tables of the page, an empty line between them."""
    heads = ["network", "attack", "n", "bare, %", "clamp, less bare", "clamp under the attacks of before, less bare"]
    accuracies = table(heads, (accuracy(row) for name in ("digits", "cifar10") for row in rows(f"{name}.json")))
    heads = ["networks of", "networks", "images", "lost, bare", "lost, behind a clamp", "lost, behind a ReLU"]
    return f"{accuracies}\n\n{table(heads, borders())}"


def rows(name: str) -> list[dict[str, Any]]:
    """Return the rows of a record."""
    found: list[dict[str, Any]] = json.loads((HERE / name).read_text())["arms"]
    return found


def accuracy(row: dict[str, Any]) -> list[str]:
    """Return a row of the first table; differences are in points, with their paired 95 % intervals."""
    differences = [
        f"{gain:+.2f} [{low:+.2f}, {high:+.2f}]"
        for gain, low, high in (row[f"{arm}, less bare"] for arm in ("clamp", "clamp, exact"))
    ]
    return [row["run"], LABELS[row["attack"]], str(row["n"]), f"{100 * row['bare'] / row['n']:.1f}", *differences]


def borders() -> Iterator[list[str]]:
    """Yield a row of the second table for the networks of each budget: on how many images the gradient is lost."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows("border.json"):
        data = "digits" if row["run"].startswith("digits") else "CIFAR-10"
        groups.setdefault(f"{data}, eps {row['run'].partition('-eps')[2].partition('-')[0]}", []).append(row)
    for group, found in groups.items():
        fronts = [[row for row in found if row["front"] == front] for front in ("bare", "clamp", "relu")]
        networks, images = len(fronts[0]), sum(row["images"] for row in fronts[0])
        yield [group, str(networks), str(images), *(str(sum(row["lost"] for row in front)) for front in fronts)]


if __name__ == "__main__":
    main()
