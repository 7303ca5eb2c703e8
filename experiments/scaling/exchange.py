"""What the exchange of an update costs on 2 to 64 GPUs: a model, nothing is measured.

    python experiments/scaling/exchange.py

    seconds = 2 (W - 1) / W bytes / bandwidth + 2 (W - 1) latency,    bytes = 4 P

of a ring over W processes, in which each sends its W-th of the sum on W - 1 times, twice. P counts the weights. The
slowest link of the ring decides: within a machine, or between machines of 8 GPUs. It does not overlap with the
backward pass, and neither copy of the gradients on the GPU is counted.
"""

from fastbat.models import build_model

WITHIN = (300e9, 5e-6)  # bytes / s and s a message: GPUs of one machine on NVLink
BETWEEN = (12.5e9, 20e-6)  # machines on a network of 100 Gb/s
GPUS = 8  # of a machine
NETWORKS = ("preactresnet18", "wideresnet-28-10")
PROCESSES = (2, 4, 8, 16, 32, 64)


def seconds(weights: int, processes: int, bandwidth: float, latency: float) -> float:
    """Return the seconds of a ring all-reduce of so many float32 numbers."""
    messages = 2 * (processes - 1)
    return messages / processes * 4 * weights / bandwidth + messages * latency


def table() -> str:
    """Return the table of docs/guides/speed.md."""
    counts = [sum(weight.numel() for weight in build_model(name).parameters()) for name in NETWORKS]
    heads = [f"{name}, {count / 1e6:.1f} million weights" for name, count in zip(NETWORKS, counts, strict=True)]
    rows = [["GPUs", "slowest link", *heads], ["---"] * (2 + len(heads))]
    for processes in PROCESSES:
        link, name = (WITHIN, "within a machine") if processes <= GPUS else (BETWEEN, "between machines")
        rows.append([str(processes), name, *(f"{1000 * seconds(count, processes, *link):.2f} ms" for count in counts)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


if __name__ == "__main__":
    print(table())
