"""Print the tables of README.md: a batch from memory, an epoch, a stream of JPEGs.

python experiments/data-speed/table.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import arms, table

HERE = Path(__file__).parent
WORKERS = (0, 1, 2)
PHASES = ("160 -> 128", "352 -> 224", "stored -> 288")


def main() -> None:
    """Print the tables."""
    print(tables())


def tables() -> str:
    """Return the three tables of the page."""
    return "\n\n".join((batch(), epoch(), workers()))


def batch() -> str:
    """Return what drawing a batch takes, and the steps that it feeds."""
    found = arms(HERE / "data-batch.json")
    times = {
        name: f"{arm['ms']:.2f} [{', '.join(f'{ms:.2f}' for ms in arm['quartiles_ms'])}]" for name, arm in found.items()
    }
    drawn = found["a batch"]["ms"]
    rows = [
        [name, times[name], f"{100 * drawn / arm['ms']:.1f}" if name != "a batch" else None]
        for name, arm in found.items()
    ]
    return table(["of 128 images", "ms [quartiles]", "a batch is, % of it"], rows)


def epoch() -> str:
    """Return the time of an epoch by its images."""
    found = arms(HERE / "data-epoch.json")
    rows = [[name, f"{arm['ms'] / 1000:.2f}", arm["images_per_second"]] for name, arm in found.items()]
    return table(["an epoch of", "s", "images/s"], rows)


def workers() -> str:
    """Return images/s of the stream by worker processes and phase."""
    found = arms(HERE / "data-workers.json")
    rows = [[n, *(found[f"{n} workers, {phase}"]["images_per_second"] for phase in PHASES)] for n in WORKERS]
    return table(["worker processes", *(f"images/s, {phase}" for phase in PHASES)], rows)


if __name__ == "__main__":
    main()
