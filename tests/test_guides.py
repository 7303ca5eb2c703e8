"""Get started and the guides, followed to the letter: their commands, files and Python run as they stand there."""

import json
import os
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from fastbat.cli import main
from fastbat.cli.commands import check_command
from fastbat.files import read_records, read_toml
from pages import DOCS, code, patched

ROOT = DOCS.parent
GUIDES = DOCS / "guides"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a page's commands run in; what they import from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def follow(page: Path) -> None:
    """Write a page's files, run its commands, and its Python as one program."""
    space: dict[str, object] = {}
    for language, file, text in code(page):
        if language == "sh":
            for command in text.splitlines():
                main(shlex.split(command.removeprefix("fastbat "), comments=True))
        elif file:
            assert not Path(file).exists()
            Path(file).write_text(text)
        elif language == "python":
            exec(compile(text, page.name, "exec"), space)


def test_the_quickstart_trains_measures_compares_and_loads(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    follow(DOCS / "start" / "quickstart.md")
    said = capsys.readouterr().out
    assert "RA-PGD-50-10" in said
    assert "RA-FGSM" in said
    assert "fast-bat tensor(" in said
    assert len(read_records(folder / "first" / "metrics.jsonl")) == 10
    assert (folder / "second" / "best.safetensors").exists()


def test_a_network_of_ones_own_is_trained_measured_and_exported(folder: Path) -> None:
    follow(GUIDES / "own-model.md")
    assert read_toml(folder / "mine" / "config.toml")["model"] == "mine:small"
    assert (folder / "mine.pt2").exists()


def test_a_loop_of_ones_own_trains(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    follow(GUIDES / "own-loop.md")
    assert "torch.Size([16, 3, 8, 8])" in capsys.readouterr().out


def test_somebody_elses_model_is_audited(folder: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    torch.save(network.state_dict(), "theirs.pt")
    follow(GUIDES / "audit.md")
    (record,) = read_records(folder / "theirs-measured" / "evaluation.jsonl")
    assert [each["attack"] for each in record["accuracies"]] == ["clean", "pgd"]


def test_a_training_and_an_evaluation_are_resumed_and_repeated(folder: Path) -> None:
    follow(GUIDES / "resume-and-share.md")
    assert read_toml(folder / "again" / "config.toml")["seed"] == 1
    assert len(read_records(folder / "run" / "metrics.jsonl")) == 2


@pytest.mark.usefixtures("in_process")
def test_a_suite_compares_two_arms(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    follow(GUIDES / "suites.md")
    trials = [json.loads(line)["trial"] for line in (folder / "compared" / "results.jsonl").read_text().splitlines()]
    assert trials == ["fast-at-seed0", "no-term-seed0", "fast-at-seed1", "no-term-seed1"]
    said = capsys.readouterr().out
    assert "fast-bat ig mode none SA " in said
    arm = "FAST-BAT (ig mode none)"
    assert f"{arm} less FAST-AT RA-FGSM " in said or f"FAST-AT less {arm} RA-FGSM " in said
    assert {"results.csv", "differences.csv", "report.html"} <= {each.name for each in folder.iterdir()}


# What a guide adds, and a file that its commands write.
ADDITIONS = {
    "add-a-method.md": "runs/first/evaluation.jsonl",
    "add-a-method-with-memory.md": "runs/second/last.ckpt",
    "add-a-setting.md": "runs/clipped/last.ckpt",
}


def test_what_the_guides_add_works_to_the_letter(tmp_path: Path) -> None:
    """Each fits the source alone; all of them run in one process, as each would import torch anew."""
    for page in ADDITIONS:
        added(GUIDES / page, source_in(tmp_path / page))
    every = source_in(tmp_path / "every")
    follow_in_a_process_of_its_own([command for page in ADDITIONS for command in added(GUIDES / page, every)], every)
    assert [written for written in ADDITIONS.values() if not (every / written).exists()] == []


def source_in(folder: Path) -> Path:
    """Copy what a guide adds to into a new folder."""
    folder.mkdir()
    for part in ("src", "tests", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    return folder


def added(page: Path, folder: Path) -> list[str]:
    """Write what a page adds to the source in `folder`; return its commands."""
    commands = []
    for language, file, text in code(page):
        target = folder / file
        if language == "python":
            assert not target.exists()
            target.write_text(text)
        elif language == "diff":
            target.write_text(patched(target.read_text(), text))
        elif language == "sh":
            commands += text.splitlines()
    return commands


# Runs each line of its input; a process for all, as each would import torch anew.
RUN_EACH = """
import sys
from fastbat.cli import main
import pytest
for line in sys.stdin:
    program, *arguments = line.split()
    print("$", line, flush=True)
    if program == ".venv/bin/fastbat":
        main(arguments)
    else:
        assert [program, *arguments[:2]] == [".venv/bin/python", "-m", "pytest"]
        assert pytest.main(arguments[2:]) == 0
"""


def follow_in_a_process_of_its_own(commands: list[str], folder: Path) -> None:
    """Run the commands of a page with the source in `folder`."""
    space = os.environ | {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}
    program, lines = [sys.executable, "-c", RUN_EACH], "\n".join(commands)
    done = subprocess.run(program, input=lines, cwd=folder, env=space, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-3000:]}"


SRUN = """#!/bin/sh
echo "$SLURM_NNODES $@"
"""
SCONTROL = """#!/bin/sh
[ "$*" = "show hostnames node[3-4]" ] && printf 'node3\\nnode4\\n'
"""


def test_the_script_for_slurm_starts_a_training_that_is_taken(folder: Path) -> None:
    """Slurm's programs are not here: what they would be given is read by torchrun and by fastbat."""
    from torch.distributed.run import get_args_parser

    ((language, name, text),) = code(GUIDES / "several-processes.md")
    assert (language, name) == ("bash", "train.sbatch")
    for file, script in (("train.sbatch", text), ("srun", SRUN), ("scontrol", SCONTROL)):
        Path(file).write_text(script)
        Path(file).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "node[3-4]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "17", "SLURM_CPUS_PER_TASK": "32"}
    where = {"PATH": f"{folder}:{os.environ['PATH']}", **slurm}
    done = subprocess.run(["bash", "train.sbatch"], capture_output=True, text=True, env=where, check=True)
    nodes, flag, cpus, program, *words = shlex.split(done.stdout)
    assert (nodes, flag, cpus, program) == ("2", "--cpus-per-task", "32", "torchrun")
    given = get_args_parser().parse_args(words)
    assert (given.nnodes, given.nproc_per_node, given.max_restarts, given.rdzv_id) == ("2", "8", 3, "17")
    assert (given.rdzv_backend, given.rdzv_endpoint) == ("c10d", "node3:29500")
    assert (given.module, given.training_script) == (True, "fastbat")
    for split in ("train", "test"):
        Path("data").mkdir(exist_ok=True)
        Path(f"data/cifar10-{split}.parquet").touch()
    check_command(given.training_script_args)


def test_the_model_of_what_an_exchange_costs_is_the_scripts() -> None:
    script = runpy.run_path(str(ROOT / "experiments" / "scaling" / "exchange.py"))
    assert script["table"]() in (GUIDES / "speed.md").read_text()
    assert script["seconds"](10**6, 2, 4e6, 0.0) == 1  # each sends half of the sum, twice
    assert script["seconds"](0, 64, 1.0, 0.5) == 63
