"""The README's code runs as it stands there, and so do its lines of shell."""

import re
import subprocess
import sys
from pathlib import Path

import torch

from fastbat.files import read_records

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_every_python_block_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 10))
    before = model[1].weight.clone()
    x, y = torch.rand(8, 3, 4, 4), torch.arange(8)
    space = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loader": [(x, y)],
        "x_test": x,
        "y_test": y,
    }
    found = blocks("python")
    assert len(found) >= 2
    for block in found:
        exec(compile(block, "README.md", "exec"), space)
    assert not torch.equal(model[1].weight, before)


def test_every_shell_line_runs(tmp_path):
    (tmp_path / ".venv").symlink_to(sys.prefix)  # what `make` would have made here
    found = blocks("sh")
    assert len(found) >= 1
    for block in found:
        subprocess.run(["sh", "-ec", block], cwd=tmp_path, check=True)
    (record,) = read_records(tmp_path / "runs" / "second" / "evaluation.jsonl")
    assert [(each["attack"], each["n"]) for each in record["accuracies"]] == [("clean", 100), ("pgd", 100)]
