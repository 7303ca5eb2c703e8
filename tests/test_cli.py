"""The command line: what scripts call works, and every mistake is one line that says what to do."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from importlib.metadata import version

import pytest

from fastbat.audit import evaluate_target
from fastbat.cli import main
from fastbat.cli.main import check_command, configure_command
from fastbat.errors import InputError
from fastbat.files import load_tensors, read_records, read_toml
from fastbat.methods import METHODS

TRAIN = ["train", "--epochs", "2", "--width", "4", "--train-limit", "200", "--select-limit", "20"]
MEASURE = ["--attacks", "clean,pgd", "--pgd-steps", "3", "--pgd-restarts", "2", "--limit", "30"]


def call(capsys, *tokens):
    """Return exit status, stdout and stderr of one call in this process."""
    capsys.readouterr()
    try:
        main([str(token) for token in tokens])
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    return status, *capsys.readouterr()


def test_train_then_evaluate_prints_one_json_object(capsys, tmp_path):
    run = tmp_path / "a run"
    status, out, err = call(capsys, *TRAIN, "--method", "fast-bat", "--eps", 38, "--lam", "released", "--out", run)
    assert (status, out) == (0, "")
    assert "epoch 2/2" in err
    status, out, _ = call(capsys, "evaluate", run, "--checkpoint", "last", *MEASURE, "--eps", 51, "--json")
    record = json.loads(out)
    clean, pgd = record["accuracies"]
    assert (status, record["n"], clean["eps_255"], pgd["eps_255"], pgd["label"]) == (0, 30, 0, 51, "RA-PGD-3-2")
    assert 0 <= pgd["percent"] <= clean["percent"] <= 100
    assert [record[key] for key in ("sa", "ra_pgd", "eps_255")] == [clean["percent"], pgd["percent"], 51]
    assert record["settings"]["versions"]["fastbat"] == version("fastbat")
    assert read_records(run / "evaluation.jsonl")[0]["accuracies"] == record["accuracies"]


def test_a_budget_may_be_written_as_a_fraction_of_255():
    for words in (["--eps", "8/255"], ["--eps=8/255"], ["--eps", "8"]):
        method, _ = configure_command(["train", "--method", "fast-at", *words])
        assert method.eps == pytest.approx(8 / 255)
    check_command(["evaluate", "theirs.pt", "--eps", "2/255,8/255"])
    with pytest.raises(InputError, match="eps is '8/256'; it must be numbers"):
        check_command(["evaluate", "theirs.pt", "--eps", "8/256"])


def test_a_budget_that_was_meant_on_the_other_scale_is_doubted_before_the_training(capsys, tmp_path):
    few = ["--epochs", "1", "--width", "2", "--train-limit", "60", "--select-limit", "20", "--method", "fast-at"]
    status, _, err = call(capsys, "train", *few, "--eps", "0.031", "--out", tmp_path / "run")
    assert status == 0
    assert err.startswith("eps is 0.031/255, less than half a grey level; was 8/255 meant?\n")


def test_evaluate_prints_a_table_with_n_and_intervals(capsys, tmp_path):
    call(capsys, *TRAIN, "--method", "fast-at", "--eps", 38, "--out", tmp_path / "run")
    status, out, _ = call(capsys, "evaluate", tmp_path / "run", *MEASURE)
    assert status == 0
    assert "RA-PGD-3-2" in out
    assert "30 images of digits" in out
    assert "38/255" in out


def test_the_written_configuration_repeats_the_run_and_flags_override_it(capsys, tmp_path):
    call(capsys, *TRAIN, "--method", "pgd-at", "--steps", 3, "--eps", 38, "--out", tmp_path / "first")
    config = tmp_path / "first" / "config.toml"
    call(capsys, "train", "--config", config, "--out", tmp_path / "again")
    call(capsys, "train", "--config", config, "--steps", 1, "--out", tmp_path / "other")
    first, again, other = (load_tensors(tmp_path / name / "last.safetensors") for name in ("first", "again", "other"))
    assert first[1] == again[1]
    assert all((first[0][name] == again[0][name]).all() for name in first[0])
    assert other[1]["config"]["steps"] == 1


def test_resume_takes_the_settings_of_the_run(capsys, tmp_path):
    call(capsys, *TRAIN, "--method", "pgd-at", "--eps", 38, "--out", tmp_path / "run")
    status, _, err = call(capsys, "train", "--out", tmp_path / "run", "--resume")
    trained = [line for line in err.splitlines() if line.startswith("epoch ")]
    assert (status, "finished" in err, trained) == (0, True, [])
    status, _, err = call(capsys, "train", "--out", tmp_path / "run", "--resume", "--epochs", 9)
    assert status == 2
    assert "was started with epochs = 2, not 9" in err


@pytest.mark.parametrize("what", ["methods", "models", "datasets", "attacks"])
def test_list_names_what_there_is(what, capsys):
    status, out, _ = call(capsys, "list", what, "--json")
    assert status == 0
    assert {"methods": "fast-bat", "models": "cnn", "datasets": "digits", "attacks": "aa"}[what] in json.loads(out)
    status, table, _ = call(capsys, "list", what)
    assert all(name in table for name in json.loads(out))


@pytest.mark.parametrize("name", METHODS)
def test_help_teaches_each_methods_own_flags(name, capsys):
    status, out, _ = call(capsys, "train", "--method", name, "--help")
    assert status == 0
    assert "Linf budget trained against, on the 0-255 scale." in " ".join(out.replace("│", " ").split())
    own = {f.name for f in fields(METHODS[name]) if f.init and f.name != "eps"}
    for flag in ("ig_weight", "step_ratio", "replays", "beta"):
        assert (f"--{flag.replace('_', '-')}" in out) == (flag in own)


MISTAKES = {
    "an unknown command": ("trian", 'Unknown command "trian". Did you mean "train"?'),
    "an unknown flag": ("train --epoch 3", "Unknown option: --epoch. Did you mean --epochs?"),
    "a flag of another method": ("train --method fast-at --lam 3", "Unknown option: --lam."),
    "an unknown method": ("train --method fastbat", "unknown method 'fastbat'; did you mean 'fast-bat'?"),
    "an unknown data set": ("train --dataset cifar", "unknown data set 'cifar'; did you mean 'cifar10'?"),
    "an unknown model": ("train --model preact18", "unknown model 'preact18'; did you mean 'preactresnet18'?"),
    "no number": ("train --epochs many", 'unable to convert "many" into int'),
    "eps 0": ("train --eps 0", "eps is 0/255; it must lie above 0"),
    "eps below 0": ("train --eps -8", "eps is -8/255"),
    "eps above the range": ("train --eps 300", "eps is 300/255"),
    "no such configuration": ("train --config nowhere.toml", "cannot read 'nowhere.toml': No such file or directory"),
    "nothing to resume": (
        "train --out nowhere --resume",
        "no run to go on with: 'nowhere/config.toml' does not exist; name the run with --out",
    ),
    "no such folder": ("train --dataset cifar10 --data-dir nowhere", "data_dir 'nowhere' is not a folder"),
    "a batch of one image": (
        "train --dataset digits --method fast-at --model preactresnet18 --width 2 --train-limit 1 --out run",
        "Expected more than 1 value per channel when training",
    ),
    "more weights than memory": (
        "train --dataset digits --width 1000000 --out run",
        "not enough memory; lower --batch-size or",
    ),
    "no such run": ("evaluate nowhere", "no model 'nowhere'; name a run directory"),
    "an empty run": ("evaluate .", "no file 'best.safetensors'"),
    "another checkpoint": (
        "evaluate . --checkpoint first",
        'Invalid value "first" for --checkpoint. Choose from: "best", "last", "best-ema", "last-ema".',
    ),
    "an unknown attack": ("evaluate . --attacks clean,pdg", "unknown attack 'pdg'; did you mean 'pgd'?"),
    "no target": ("evaluate", "parameter TARGET requires an argument"),
    "an unknown list": ("list method", 'Did you mean "methods"?'),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_with_status_2_and_nothing_is_written(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokens, message = MISTAKES[case]
    status, out, err = call(capsys, *tokens.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_with_an_unknown_key_or_no_toml_is_one_line(capsys, tmp_path):
    for text, message in (("epoch = 3", "epoch"), ("= 3", "is not TOML")):
        (tmp_path / "c.toml").write_text(text)
        status, _, err = call(capsys, "train", "--config", tmp_path / "c.toml", "--out", tmp_path / "run")
        assert (status, err.count("\n")) == (2, 1)
        assert message in err
        assert not (tmp_path / "run").exists()


def test_nothing_at_all_prints_the_commands(capsys):
    status, out, _ = call(capsys)
    assert status == 0
    assert all(command in out for command in ("train", "evaluate", "list"))


def test_a_number_resolved_for_another_eps_is_not_taken_over(capsys, tmp_path):
    call(capsys, *TRAIN, "--eps", 38, "--out", tmp_path / "first")
    again = ("train", "--config", tmp_path / "first" / "config.toml", "--out", tmp_path / "again")
    status, _, err = call(capsys, *again, "--eps", 8)
    assert status == 2
    assert "lam = 0.102 belongs to eps 38; for eps 8 give --lam too" in err
    status, _, _ = call(capsys, *again, "--eps", 8, "--lam", "paper")
    assert status == 0
    assert load_tensors(tmp_path / "again" / "last.safetensors")[1]["config"]["lam"] == pytest.approx(0.051)


def test_the_settings_that_follow_from_eps_are_these():
    per_eps = {name: [f.name for f in fields(method) if "per_eps" in f.metadata] for name, method in METHODS.items()}
    steps = {name: ["step"] for name in ("pgd-at", "pgd-2", "pgd-7", "trades", "atta", "yopo")}
    expected = {"fast-bat": ["lam"], "fast-at-ga": ["mu"], **steps}
    assert {name: names for name, names in per_eps.items() if names} == expected


@pytest.mark.parametrize(("method", "name"), [("fast-at-ga", "mu"), ("trades", "step"), ("pgd-7", "step")])
def test_another_eps_asks_for_the_settings_of_that_eps(method, name, capsys, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(f'method = "{method}"\neps = 8\n{name} = 0.1\n')
    status, _, err = call(capsys, "train", "--config", config, "--eps", 16, "--out", tmp_path / "run")
    assert status == 2
    assert f"{name} = 0.1 belongs to eps 8; for eps 16 give --{name} too" in err
    assert not (tmp_path / "run").exists()


def refuse(path):
    raise PermissionError(13, "denied", str(path))


def test_an_evaluation_that_cannot_be_recorded_does_not_start(capsys, tmp_path, monkeypatch):
    call(capsys, *TRAIN, "--eps", 38, "--out", tmp_path / "run")
    monkeypatch.setitem(evaluate_target.__globals__, "evaluate", lambda *_, **__: pytest.fail("an attack started"))
    monkeypatch.setattr("os.access", lambda *_: False)
    status, _, err = call(capsys, "evaluate", tmp_path / "run")
    assert status == 2
    assert "cannot write into" in err


def test_a_run_in_a_folder_that_cannot_be_made_is_one_line(capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    status, _, err = call(capsys, *TRAIN, "--eps", 38, "--out", tmp_path / "file" / "run")
    assert status == 2
    assert "Not a directory; check its folder, its rights and the free space" in err


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_run_goes_on_after_its_last_finished_epoch(kill, capsys, tmp_path):
    flags = [*TRAIN, "--epochs", "40", "--eps", "38"]
    flags.remove("2")
    flags.remove("--epochs")
    command = [sys.executable, "-m", "fastbat.cli", *flags, "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs the tests may ignore it
    )  # fmt: skip
    while not read_records(tmp_path / "killed" / "metrics.jsonl") and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(kill)
    err = process.communicate()[1]
    assert "Traceback" not in err
    if kill == signal.SIGINT:
        assert process.returncode == 130
        assert "go on after the last finished epoch with: fastbat train --out " in err
    done = len(read_records(tmp_path / "killed" / "metrics.jsonl"))
    assert 1 <= done < 40
    status, _, err = call(capsys, "train", "--out", tmp_path / "killed", "--resume")
    assert status == 0
    assert err.count("epoch") in (40 - done, 41 - done)
    assert [r["epoch"] for r in read_records(tmp_path / "killed" / "metrics.jsonl")] == list(range(1, 41))


def test_ctrl_c_before_there_is_a_run_names_nothing_to_go_on_with(capsys, monkeypatch, tmp_path):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastbat.training.trainer.load", interrupted)
    status, _, err = call(capsys, *TRAIN, "--out", tmp_path / "run")
    assert (status, err) == (130, "fastbat: stopped\n")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("pgd-7", "pgd-2", {"steps": 2}),
        ("trades", "backsmooth", {"beta": 10.0}),
        ("standard", "fast-at", {"eps": 8.0}),
        ("free-at", "fast-at", "belongs to method free-at; for method fast-at give --"),
        ("fast-at", "yopo", "belongs to method fast-at; for method yopo give --"),
    ],
)
def test_what_belongs_to_one_method_is_not_taken_over_by_another(before, after, expected, capsys, tmp_path):
    tiny = ("--train-limit", 40, "--width", 2, "--select-limit", 5, "--select-steps", 1, "--epochs", 1)
    eps = () if before == "standard" else ("--eps", 38)
    call(capsys, "train", *tiny, "--method", before, *eps, "--out", tmp_path / "one")
    config = ("--config", tmp_path / "one" / "config.toml")
    status, _, err = call(capsys, "train", *config, "--method", after, "--out", tmp_path / "two")
    if isinstance(expected, str):
        assert (status, expected in err) == (2, True)
        return
    assert status == 0, err
    found = read_toml(tmp_path / "two" / "config.toml")
    assert {name: found[name] for name in expected} == expected


def test_a_run_is_repeated_with_another_method(capsys, tmp_path):
    assert call(capsys, *TRAIN, "--eps", 38, "--out", tmp_path / "first")[0] == 0  # fast-bat, with its lam
    again = (
        "train",
        "--config",
        tmp_path / "first" / "config.toml",
        "--out",
        tmp_path / "second",
        "--method",
        "fast-at",
    )
    status, _, err = call(capsys, *again)
    assert status == 0, err
    first, second = (read_toml(tmp_path / run / "config.toml") for run in ("first", "second"))
    assert second["method"] == "fast-at"
    assert "lam" in first
    assert "lam" not in second
    assert second["width"] == first["width"]
