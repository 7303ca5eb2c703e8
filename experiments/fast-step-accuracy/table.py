"""Print the table of README.md: each arm, and its paired difference to the released step.

python experiments/fast-step-accuracy/table.py
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import arms, table

HERE = Path(__file__).parent


def main() -> None:
    """Print the table."""
    print(tables())


def tables() -> str:
    """Return the table of the page."""
    found = arms(HERE / "accuracy.json")
    heads = ["arm", "SA", "less released", "RA-PGD-20-1", "less released"]
    return table(heads, ([name, *cells(arm, "clean"), *cells(arm, "pgd")] for name, arm in found.items()))


def cells(arm: dict[str, Any], attack: str) -> list[str | None]:
    """Return an accuracy, and its difference with its interval."""
    gain, low, high = arm[f"{attack}_less_released"]
    difference = None if arm["arm"] == "released" else f"{gain:+.2f} [{low:+.2f}, {high:+.2f}]"
    return [f"{arm[attack]:.2f}", difference]


if __name__ == "__main__":
    main()
