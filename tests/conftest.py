"""What the tests share: real CIFAR-10 where it is available, and small quick runs.

Tests run in several processes at once: each, and each program that it starts, has one thread.
"""

import os
import shlex
from contextlib import redirect_stdout
from copy import deepcopy
from io import StringIO
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; small networks gain nothing by more
os.environ["TORCHINDUCTOR_VEC_ISA_OK"] = "1"  # or torch.compile compiles trials of the processor for 20 s

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat.cli import main
from fastbat.data import load
from fastbat.models import build_model
from fastbat.randomness import seed_generators
from fastbat.suite.processes import Child, ChildError

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    seed_generators(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with CIFAR-10 as parquet files; tests that need it are skipped without it."""
    if not (REAL_DATA / "cifar10-test.parquet").exists():
        pytest.skip("no ../shared/data with CIFAR-10 as parquet files beside the checkout")
    return REAL_DATA


@pytest.fixture
def in_process(monkeypatch):
    """Run the commands of trials here: other tests are about their processes, which import torch again."""

    def execute(child, arguments):
        with child.log.open("a") as file, redirect_stdout(StringIO()) as out, monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["fastbat", *arguments])  # which records name as their command
            file.write(f"$ fastbat {shlex.join(arguments)}\n")
            try:
                main(list(arguments))
            except SystemExit as stop:
                raise ChildError(f"exit status {stop.code}") from stop
        return out.getvalue()

    monkeypatch.setattr(Child, "execute", execute)


def percent(record: dict, attack: str) -> float:
    """The accuracy under `attack` in the record of an evaluation."""
    (found,) = [each["percent"] for each in record["accuracies"] if each["attack"] == attack]
    return found


def trained_cnn(classes: int = 10, steps: int = 60) -> tuple[nn.Module, Tensor, Tensor]:
    """A small network that knows its digits, and the images it knows them from."""
    return trained(build_model("cnn", width=8, num_classes=classes, mean=[0.3], std=[0.4]), classes, steps)


TRAINED: dict[tuple[bytes, int, int], dict[str, Tensor]] = {}  # weights after so many steps, by those before


def trained(model: nn.Module, classes: int, steps: int) -> tuple[nn.Module, Tensor, Tensor]:
    """`model` after some steps on the digits below `classes`, and those digits."""
    x, y = load("digits").train.tensors()
    x, y = x[y < classes], y[y < classes]
    key = b"".join(weight.detach().numpy().tobytes() for weight in model.parameters()), classes, steps
    if key not in TRAINED:
        train_plainly(model, x, y, steps)
        TRAINED[key] = deepcopy(model.state_dict())
    model.load_state_dict(TRAINED[key])
    return model.eval(), x, y


def train_plainly(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """Train with Adam on all images at once."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
