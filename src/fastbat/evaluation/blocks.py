"""The work of an evaluation: attacks at budgets, each on block after block of images.

A block is `batch_size` images that follow each other; what an attack does to it depends on nothing outside it. So an
interrupted evaluation goes on at the next block, and of R processes the one of rank r takes blocks r, r + R, ..., all
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
class Job:
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
class Found:
    """What a job found."""

    job: Job
    broken: Tensor  # (n,) bool
    not_finite: Tensor  # (n,) bool: images whose own logits are not
    rejected: int
    seconds: float


@dataclass(frozen=True)
class Work:
    """A model and the images it is attacked on."""

    model: AttackedModel
    images: TestImages
    batch_size: int
    journal: Journal
    keep: bool  # the adversarial examples
    clean: Tensor | None = None  # (N,) bool: classified correctly, once the job `clean` has found it

    def run(self, job: Job) -> Found:
        """Run this process's blocks of `job` that are not finished; return what all processes found."""
        mine = range(rank() * self.batch_size, job.n, world() * self.batch_size)
        broken, not_finite = (torch.zeros(job.n, dtype=torch.int64) for _ in range(2))
        totals = torch.zeros(2, dtype=torch.float64)
        seen, right, what = 0, 0, f"{job.attack}, eps {255 * job.plan.eps:.10g}/255"
        with bar(job.name) as show:
            for i, block in enumerate(mine):
                head = f"{what}: {right} of {seen} robust so far" if seen else what
                show(i / len(mine), head)
                if (job.name, block) not in self.journal.done:
                    self.run_block(job, block, within(show, head, i, len(mine)))
                line, these = self.journal.done[job.name, block], slice(block, min(block + self.batch_size, job.n))
                broken[line["broken"]] = 1
                not_finite[line.get("not_finite", [])] = 1
                seen += these.stop - these.start
                before = these.stop - these.start if self.clean is None else int(self.clean[these].sum())
                right += before - len(line["broken"])
                totals += torch.tensor([line["rejected"], line["seconds"]], dtype=torch.float64)
        rejected, seconds = summed(totals).tolist()
        return Found(job, summed(broken).bool(), summed(not_finite).bool(), int(rejected), seconds)

    def run_block(self, job: Job, block: int, tell: Show) -> None:
        """Attack the images of one block that are classified correctly; `clean` sees which are."""
        index = torch.arange(block, min(block + self.batch_size, job.n))
        start = time.perf_counter()
        seed_torch(job.plan.seed, job.name, block)  # for a model that is random
        line: dict[str, Any] = {"broken": [], "rejected": 0}
        examples = None
        if self.clean is None:
            right, finite = answered(self.model.exact, *self.images.batch(index))
            line |= {"broken": index[~right.cpu()].tolist(), "not_finite": index[~finite.cpu()].tolist()}
        elif len(index := index[self.clean[index]]):
            x, y = self.images.batch(index)
            square = job.attack == "square"  # it compares losses too close for bf16
            model, rounds = self.model.precise() if square else self.model, job.plan.rounds(job.attack)
            outcome = attack(model, x, y, index, rounds, job.plan.eps, tell)
            hit = outcome.broken.cpu()
            line = {"broken": index[hit].tolist(), "rejected": outcome.rejected}
            examples = {"x": outcome.x_adv[outcome.broken], "y": y[outcome.broken], "index": index[hit]}
        seconds = time.perf_counter() - start
        self.journal.add(
            job.name, block, {**line, "seconds": seconds}, examples if self.keep and not job.probe else None
        )


def within(show: Show, head: str, i: int, blocks: int) -> Show:
    """Return how the attack on block `i` of `blocks` shows its progress."""
    return lambda share, text: show((i + share) / blocks, f"{head}; {text}")
