"""Run the measurements of an evaluation: attacks at budgets, each on block after block of images.

A block is `batch_size` images that follow each other; what an attack does to it depends on nothing outside it. So an
interrupted evaluation resumes at the next block, and of R processes the one of rank r takes blocks r, r + R, ..., all
with the same result.
"""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastbat.evaluation.attacked import AttackedModel, TestImages
from fastbat.evaluation.journal import Journal
from fastbat.evaluation.measures import answered, attack
from fastbat.evaluation.rounds import Plan
from fastbat.progress import Show, bar
from fastbat.randomness import seed_torch
from fastbat.runtime.processes import rank, summed, world


@dataclass(frozen=True)
class Measurement:
    """One attack at one budget, on the first `n` images."""

    attack: str
    plan: Plan
    n: int
    probe: bool = False  # for the red flags; else it was asked for

    @property
    def name(self) -> str:
        """The name of its lines in the journal."""
        return f"{'probe-' if self.probe else ''}{self.attack}@{255 * self.plan.eps:.10g}"


@dataclass(frozen=True)
class Measured:
    """What a measurement found."""

    measurement: Measurement
    broken: Tensor  # (n,) bool
    not_finite: Tensor  # (n,) bool: images whose own logits are not
    rejected: int
    seconds: float


@dataclass(frozen=True)
class Runner:
    """Runs measurements of a model on its images."""

    model: AttackedModel
    images: TestImages
    batch_size: int
    journal: Journal
    keep: bool  # the adversarial examples
    clean: Tensor | None = None  # (N,) bool: classified correctly, once the measurement `clean` has found it

    def run(self, measurement: Measurement) -> Measured:
        """Run this process's blocks of `measurement` that are not finished; return what all processes found."""
        mine = range(rank() * self.batch_size, measurement.n, world() * self.batch_size)
        broken, not_finite = (torch.zeros(measurement.n, dtype=torch.int64) for _ in range(2))
        totals = torch.zeros(2, dtype=torch.float64)
        seen, right, what = 0, 0, f"{measurement.attack}, eps {255 * measurement.plan.eps:.10g}/255"
        with bar(measurement.name) as show:
            for i, block in enumerate(mine):
                head = f"{what}: {right} of {seen} robust so far" if seen else what
                show(i / len(mine), head)
                if (measurement.name, block) not in self.journal.done:
                    self.run_block(measurement, block, within(show, head, i, len(mine)))
                line = self.journal.done[measurement.name, block]
                these = slice(block, min(block + self.batch_size, measurement.n))
                broken[line["broken"]] = 1
                not_finite[line.get("not_finite", [])] = 1
                seen += these.stop - these.start
                before = these.stop - these.start if self.clean is None else int(self.clean[these].sum())
                right += before - len(line["broken"])
                totals += torch.tensor([line["rejected"], line["seconds"]], dtype=torch.float64)
        rejected, seconds = summed(totals).tolist()
        return Measured(measurement, summed(broken).bool(), summed(not_finite).bool(), int(rejected), seconds)

    def run_block(self, measurement: Measurement, block: int, tell: Show) -> None:
        """Attack the images of one block that are classified correctly; `clean` sees which are."""
        index = torch.arange(block, min(block + self.batch_size, measurement.n))
        start = time.perf_counter()
        seed_torch(measurement.plan.seed, measurement.name, block)  # for a model that is random
        line: dict[str, Any] = {"broken": [], "rejected": 0}
        examples = None
        if self.clean is None:
            right, finite = answered(self.model.exact, *self.images.batch(index))
            line |= {"broken": index[~right.cpu()].tolist(), "not_finite": index[~finite.cpu()].tolist()}
        elif len(index := index[self.clean[index]]):
            x, y = self.images.batch(index)
            square = measurement.attack == "square"  # it compares losses too close for bf16
            model, rounds = self.model.precise() if square else self.model, measurement.plan.rounds(measurement.attack)
            outcome = attack(model, x, y, index, rounds, measurement.plan.eps, tell)
            hit = outcome.broken.cpu()
            line = {"broken": index[hit].tolist(), "rejected": outcome.rejected}
            examples = {"x": outcome.x_adv[outcome.broken], "y": y[outcome.broken], "index": index[hit]}
        line |= {"seconds": time.perf_counter() - start}
        kept = examples if self.keep and not measurement.probe else None
        self.journal.add(measurement.name, block, line, kept)


def within(show: Show, head: str, i: int, blocks: int) -> Show:
    """Return how the attack on block `i` of `blocks` shows its progress."""
    return lambda share, text: show((i + share) / blocks, f"{head}; {text}")
