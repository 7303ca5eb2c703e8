"""The README's code runs as it stands there."""

import re
from pathlib import Path

import torch

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def python_blocks():
    return re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


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
    blocks = python_blocks()
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), space)
    assert not torch.equal(model[1].weight, before)
