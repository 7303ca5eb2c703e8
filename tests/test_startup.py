"""Starting up: what only prints, lists or refuses does not import torch; the packages export what they say."""

import json
import os
import subprocess
import sys
import zipfile
from importlib import import_module
from types import ModuleType

import pytest

import fastbat
from fastbat.methods import METHODS

PACKAGES = [
    "",
    ".attacks",
    ".audit",
    ".data",
    ".evaluation",
    ".models",
    ".paper",
    ".report",
    ".results",
    ".suite",
    ".training",
]
HEAVY = ("torch", "numpy", "datasets", "sklearn", "PIL")

SUITE = (
    '[train]\ndataset = "digits"\nmethod = ["fast-at", "trades"]\nepochs = [1, 0]\n[evaluate]\nattacks = "clean,pgd"\n'
)
COMMANDS = ("train", "evaluate", "diagnose", "export", "plot", "report", "suite", "suite run", "suite export", "list")
ANSWERED = [
    "",
    "--help",
    "--version",
    *(f"list {what}{how}" for what in ("methods", "models", "datasets", "attacks") for how in ("", " --json")),
    *(f"{command} --help" for command in COMMANDS),
    "train --method trades --help",
]
REFUSED = [
    "trian",
    "--bogus",
    "train x",
    "train --epoch 3",
    "train --epochs many",
    "train --epochs 2.5",
    "train --eps 8 --eps 16",
    "train --flip False",
    "train --method fastbat",
    "train --method fast-at --lam 3",
    "train --eps 0",
    "train --lam -1",
    "train --momentum 2",
    "train --dataset cifar",
    "train --data-dir .",
    "train --dataset folder",
    "train --dataset cifar10 --data-dir nowhere",
    "train --model preact18",
    "train --model cnn --stem 7",
    "train --device tpu",
    "train --compile --method yopo",
    "train --accumulate 2 --method free-at",
    "train --config nowhere.toml",
    "train --config suite.toml",
    "train --out .",
    "train --init-from nowhere.pt",
    "train --out nowhere --resume",
    "evaluate",
    "evaluate nowhere",
    "evaluate .",
    "evaluate . --attacks clean,pdg",
    "evaluate . --eps 8,8",
    "evaluate . --limit 0",
    "evaluate . --attacks transfer",
    "evaluate . --save-adversarial x.pt",
    "evaluate suite.toml --model cnn",
    "evaluate page.pt --dataset digits --model cnn",
    "evaluate net.pt2 --dataset digits",
    "evaluate w.safetensors --dataset digits",
    "evaluate w.safetensors --model cnn",
    "evaluate w.safetensors --dataset digits --model cnn --mean 125 --std 63",
    "evaluate w.safetensors --dataset digits --model cnn --eps 8/256",
    "evaluate some.code:net --dataset digits --model cnn",
    "diagnose nowhere --out look",
    "evaluate . --report x.pdf",
    "report -o x.html",
    "report nowhere -o x.html",
    "report . -o x.txt",
    "report .",
    "suite export -o x.csv",
    "suite export . -o x.txt",
    "suite compare nowhere -o x.csv",
    "export nowhere x.pt2",
    "export . x.onnx",
    "suite run nowhere.toml --out new",
    "suite run suite.toml --out new",
    "suite run suite.toml --out new --jobs 1.5",
    "suite run suite.toml --out new --engine slurm",
    "diagnose . --out look --limit 0",
    "diagnose . --out look --noise-at 8,x",
    "suite estimate suite.toml",
    "suite status nowhere",
    "list method",
    "plot",
    "plot nowhere",
]
PROBE = f"""
import contextlib, io, json, sys
from fastbat.cli import main
for line in sys.stdin.read().splitlines():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err := io.StringIO()):
        try:
            main(line.split())
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
    print(json.dumps([line, status, err.getvalue(), [name for name in {HEAVY!r} if name in sys.modules]]))
"""


def python(*arguments, **how):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, **how)
    return done.stdout


def test_what_prints_lists_or_refuses_does_not_import_torch(tmp_path):
    (tmp_path / "suite.toml").write_text(SUITE)
    (tmp_path / "page.pt").write_text("<html>not found</html>")
    with zipfile.ZipFile(tmp_path / "net.pt2", "w") as archive:
        archive.writestr("net/models/model.json", "{}")
    (tmp_path / "w.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    before = sorted(tmp_path.iterdir())
    printed = python("-c", PROBE, input="\n".join([*ANSWERED, *REFUSED]), cwd=tmp_path)
    found = {line: (status, err, imported) for line, status, err, imported in map(json.loads, printed.splitlines())}
    assert {line: imported for line, (_, _, imported) in found.items() if imported} == {}
    assert {line: err for line, (status, err, _) in found.items() if status == 0} == dict.fromkeys(ANSWERED, "")
    assert [line for line, (status, _, _) in found.items() if status == 2] == REFUSED
    assert [line for line in REFUSED if found[line][1].count("\n") != 1] == []
    assert sorted(tmp_path.iterdir()) == before


def test_fastbat_runs_as_a_module_too():
    assert python("-m", "fastbat", "--version") == python("-m", "fastbat.cli", "--version")


def test_bash_completes_flags(tmp_path):
    script = tmp_path / "fastbat"
    install = ("-m", "fastbat", "--install-completion", "--shell", "bash", "--output", script)
    python(*install, env=os.environ | {"HOME": str(tmp_path)})
    ask = f"source {script}; COMP_WORDS=(fastbat train --weight); COMP_CWORD=2; _fastbat; echo ${{COMPREPLY[*]}}"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--weight-decay"]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_exports_what_it_says(name):
    package = import_module(f"fastbat{name}")
    assert set(package.__all__) <= set(dir(package))
    assert [each for each in package.__all__ if isinstance(getattr(package, each), ModuleType)] == []
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


def test_a_module_called_as_an_export_does_not_hide_it(tmp_path, monkeypatch):
    package = tmp_path / "toy"
    package.mkdir()
    exports = "if TYPE_CHECKING:\n    from toy.play import play\n"
    lines = (
        f"from typing import TYPE_CHECKING\nfrom fastbat.lazy import export_lazily\n{exports}export_lazily(__name__)\n"
    )
    (package / "__init__.py").write_text(lines)
    (package / "play.py").write_text("def play():\n    return 'played'\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_module("toy.play")
    assert import_module("toy").play() == "played"


def test_the_package_has_what_the_readme_imports():
    assert callable(fastbat.train)
    assert set(fastbat.METHODS) == set(METHODS)
