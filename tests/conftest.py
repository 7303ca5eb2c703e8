"""What the tests share: real CIFAR-10 where it is at hand, and small quick runs."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # the networks of the tests are small: threads would wait for each other

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with CIFAR-10 as parquet files; tests that need it are skipped without it."""
    if not (REAL_DATA / "cifar10-test.parquet").exists():
        pytest.skip("no ../shared/data with CIFAR-10 as parquet files beside the checkout")
    return REAL_DATA
