"""make smoke: a line a suite, a report at the end; stopped, it goes on."""

import importlib.util
from pathlib import Path

import pytest

from fastbat.suite import named
from fastbat.suite.processes import Child

SCALES = """
[smoke]
says = "small"
[smoke.train]
epochs = 1
train_limit = 300
select_limit = 20
select_steps = 1
seed = 0
width = 2
[smoke.dataset]
cifar10 = { dataset = "digits" }
"""
SUITE = """
title = "A table"
[train]
dataset = "cifar10"
model = "cnn"
eps = 30
method = ["fast-at", "n-fgsm"]
[evaluate]
attacks = "clean,fgsm"
limit = 20
"""


@pytest.fixture
def smoke(tmp_path, monkeypatch, in_process):
    """Two suites in place of the paper's, and the program."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # in one process there is one stdout
    (tmp_path / "tables").mkdir()
    monkeypatch.setattr(named, "FOLDER", tmp_path / "tables")
    (tmp_path / "tables" / "scales.toml").write_text(SCALES)
    (tmp_path / "tables" / "table1.toml").write_text(SUITE)
    (tmp_path / "tables" / "table2.toml").write_text(SUITE.replace("n-fgsm", "pgd-2"))
    file = Path(__file__).resolve().parents[1] / "examples" / "smoke.py"
    spec = importlib.util.spec_from_file_location("smoke", file)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program


def called(program, capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main()
    return int(stopped.value.code), capsys.readouterr()


def trainings():
    return {file.name: file.read_text().count("$ fastbat train") for file in Path("runs/smoke/runs").glob("*.log")}


def test_it_goes_on_where_it_was_stopped_and_begins_again_when_it_was_finished(smoke, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        execute = Child.execute

        def interrupted(child, words):
            if any("pgd-2" in word for word in words):
                raise KeyboardInterrupt
            return execute(child, words)

        patched.setattr(Child, "execute", interrupted)
        code, said = called(smoke, capsys)
    lines = said.out.splitlines()
    assert code == 130
    assert lines[0].startswith("table1       2 of 2 trials finished, 0 min ")
    assert lines[1:] == ["table2     stopped; make smoke goes on"]
    before = trainings()
    assert set(before.values()) == {1}
    assert len(before) == 2
    code, said = called(smoke, capsys)
    assert code == 0
    assert [line[:35] for line in said.out.splitlines()] == [
        "table1       2 of 2 trials finished", "table2       2 of 2 trials finished",
    ]  # fmt: skip
    assert said.err.startswith("going on in runs/smoke")
    assert "; the report, to open in a browser: runs/smoke/report.html" in said.err
    assert "Stand-in images: digits for CIFAR-10." in Path("runs/smoke/report.html").read_text()
    assert set(trainings().values()) == {1}
    assert trainings().keys() > before.keys()  # FAST-AT was trained once, for both
    mark = Path("runs/smoke/table1/mark")
    mark.write_text("of the run that has come to its end")
    assert called(smoke, capsys)[0] == 0
    assert not mark.exists()


def test_a_trial_that_fails_is_counted_and_its_log_named(smoke, capsys):
    text = SUITE.replace("eps = 30", "eps = 30\nmax_lr = 1e6").replace('"fast-at", "n-fgsm"', '"standard"')
    (named.FOLDER / "table1.toml").write_text(text.replace("clean,fgsm", "clean"))
    code, said = called(smoke, capsys)
    assert code == 1
    first, second = said.out.splitlines()
    assert first.startswith("table1       0 of 1 trials finished, ")
    assert first.endswith("; see runs/smoke/table1.log")
    assert second.startswith("table2       2 of 2 trials finished, ")
    assert "standard failed: exit status 2" in Path("runs/smoke/table1.log").read_text()
    assert Path("runs/smoke/report.html").exists()
