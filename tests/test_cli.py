"""The command line: what scripts call works, and every mistake is one line that says what to do."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import fields
from importlib.metadata import version

import pytest
import tomli_w

from fastbat.audit import evaluate_target
from fastbat.cli import main
from fastbat.cli.commands import check_command, configure_command
from fastbat.errors import InputError
from fastbat.files import load_tensors, read_records, read_toml
from fastbat.methods import METHODS
from fastbat.training import Run, Settings
from fastbat.training.settings import describe, effective

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


def test_a_budget_may_be_written_as_a_fraction_of_255(tmp_path):
    for words in (["--eps", "8/255"], ["--eps=8/255"], ["--eps", "8"]):
        method, _ = configure_command(["train", "--method", "fast-at", *words])
        assert method.eps == pytest.approx(8 / 255)
    (tmp_path / "c.toml").write_text('eps = "8/255"')
    method, settings = configure_command(["train", "--method", "fast-at", "--config", str(tmp_path / "c.toml")])
    assert describe(method, settings)["eps"] == 8
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
    "an unknown flag with =": ("train --epohcs=3", "Unknown option: --epohcs. Did you mean --epochs?"),
    "an unknown flag that is near none": ("train --bogus 3", "Unknown option: --bogus.\n"),
    "the first word of a flag": ("train --batch 3", "Unknown option: --batch. Did you mean --batch-size?"),
    "a word too many": ("train --out my run", "'run' belongs to no flag; put a value with blanks in quotes"),
    "a flag given twice": ("train --eps 8 --eps 16", "Parameter --eps specified multiple times."),
    "a flag given twice, once with =": (
        "train --method=fast-at --method trades",
        "Parameter --method specified multiple times.",
    ),
    "a switch with its value behind a space": (
        "train --flip False",
        "'False' belongs to no flag; a switch takes its value after =, as in --flip=false",
    ),
    "a switch of another command": ("evaluate . --json true", "'true' belongs to no flag; a switch takes"),
    "a switch with no- in front": ("train --no-flip", "--no-flip is not a flag; write --flip=false"),
    "half an epoch": ("train --epochs 2.5", "Invalid value for --epochs: 2.5 is not a whole number"),
    "half a job": ("suite run x.toml --out out --jobs 1.5", "Invalid value for --jobs: 1.5 is not a whole number"),
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
        "no run to resume: 'nowhere/config.toml' does not exist; name the run with --out",
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
    "another device": ("train --device gpu", "device 'gpu' is not available here; choose cpu, cuda or auto"),
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


CONFIGURATIONS = {
    "an unknown key": (b"epoch = 3", "unknown setting 'epoch' in 'c.toml'; did you mean 'epochs'?"),
    "an unknown key under [train]": (
        b"[train]\nepoch = 3",
        "unknown setting 'epoch' in 'c.toml'; did you mean 'epochs'?",
    ),
    "an unknown key that is near none": (
        b"qqq = 3",
        "unknown setting 'qqq' in 'c.toml'; fastbat train --help lists them",
    ),
    "a key of another method": (b"[train]\nmethod = 'fast-at'\nlam = 3", "unknown setting 'lam' in 'c.toml'"),
    "the name of a command": (b"list = 3", "unknown setting 'list' in 'c.toml'"),
    "a key twice": (b"epochs = 1\n[train]\nepochs = 2", "epochs is in 'c.toml' twice; leave one out"),
    "a table of no meaning": (b"[trian]\nepochs = 2", "has a table [trian]; settings are at the top or in [train]"),
    "a table in the table": (
        b"[train.more]\nepochs = 2",
        "has a table [more]; settings are at the top or in [train]",
    ),
    "train as a setting": (b"train = 3", "train in 'c.toml' is no setting; name a table [train]"),
    "a suite": (
        b"[train]\nepochs = 2\n[evaluate]\nlimit = 3",
        "holds a table of trials (evaluate); run it with: fastbat",
    ),
    "a list": (
        b"[train]\neps = [8, 16]",
        "holds a table of trials (eps); run it with: fastbat suite run c.toml --out DIR",
    ),
    "a flag of the command": (
        b"resume = true",
        "resume in 'c.toml' is no setting of a run; give it as a flag: --resume",
    ),
    "another file": (b"config = 'd.toml'", "config in 'c.toml' is no setting of a run; give it as a flag: --config"),
    "a word for a number": (b"epochs = 'many'", 'unable to convert "many" into int'),
    "a switch for a number": (b"epochs = true", 'unable to convert "True" into int'),
    "a fraction": (b"epochs = 2.5", "Invalid value for [epochs]: 2.5 is not a whole number"),
    "an unknown method": (b"method = 'fastbat'", "unknown method 'fastbat'; did you mean 'fast-bat'?"),
    "no TOML": (b"= 3", "'c.toml' is not TOML: "),
    "a path of Windows": (
        rb'data_dir = "C:\Users\me"',
        "; a backslash within double quotes starts an escape",
    ),
    "another path of Windows": (
        rb'data_dir = "C:\data"',
        "; a backslash within double quotes starts an escape",
    ),
    "a path that is read as another": (rb'data_dir = "C:\temp"', "'C:\\temp' in 'c.toml' holds a control character; a"),
    "UTF-16": ("epochs = 3".encode("utf-16"), "'c.toml' is not text in UTF-8; save it as UTF-8"),
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_no_key_of_a_configuration_is_ignored(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, message = CONFIGURATIONS[case]
    (tmp_path / "c.toml").write_bytes(content)
    status, out, err = call(capsys, "train", "--config", "c.toml", "--out", "run")
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "content",
    [
        "method = 'fast-at'\nwidth = 4\neps = 38\ntrain_limit = 50\nflip = true",
        "[train]\nmethod = 'fast-at'\nwidth = 4\neps = 38\ntrain_limit = 50\nflip = true",
        "method = 'fast-at'\r\nwidth = 4\r\n[train]\r\neps = 38\r\ntrain-limit = 50\r\nflip = true\r\n",
        "\ufeff[train]\nmethod = 'fast-at'\nwidth = 4\neps = 38\ntrain_limit = 50\nflip = true",
    ],
)
def test_a_configuration_is_read_at_its_top_and_under_train(content, tmp_path):
    (tmp_path / "c.toml").write_bytes(content.encode())
    method, settings = configure_command(["train", "--config", str(tmp_path / "c.toml"), "--width", "8"])
    assert (type(method).__name__, method.eps) == ("FastAT", 38 / 255)
    assert (settings.width, settings.train_limit, settings.flip) == (8, 50, True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of FAST-BAT on a residual network, of one epoch."""
    out = tmp_path_factory.mktemp("trained") / "run"
    how = (
        "--model",
        "preactresnet18",
        "--width",
        2,
        "--epochs",
        1,
        "--eps",
        38,
        "--ema",
        0.9,
        "--precision",
        "float32",
    )
    few = ("--train-limit", 20, "--select-limit", 5, "--select-steps", 1)
    main([str(token) for token in ("train", *how, *few, "--out", out)])
    return out


WRITTEN = sorted(
    {f.name for part in (METHODS["fast-bat"], Settings) for f in fields(part) if f.init}
    - {"data_dir", "image_column", "label_column", "image_size", "pad", "flip", "rotation", "validation", "dropout"}
    - {"momentum_at_peak", "init_from", "decay_batchnorm", "channels"}
)


def test_every_setting_is_written_that_is_not_open(trained):
    assert sorted(effective(read_toml(trained / "config.toml")).keys() - {"method", "decay_batchnorm"}) == WRITTEN


def without(name, trained, folder):
    """Return a run whose config.toml lacks the setting `name`."""
    config = read_toml(trained / "config.toml")
    config["resolved"].pop(name, None)
    folder.mkdir()
    Run(folder).write_config({key: value for key, value in config.items() if key != name})
    return Run(folder)


@pytest.mark.parametrize("name", ["method", *(name for name in WRITTEN if name not in ("eps", "model"))])
def test_a_setting_that_a_runs_configuration_lacks_counts_as_its_default(name, trained, tmp_path):
    run = without(name, trained, tmp_path / "run")
    run.check_same(describe(*configure_command(["train", "--out", str(run.path), "--resume"])))


@pytest.mark.parametrize(
    ("name", "message"), [("eps", "lam = 0.102, not 0.051"), ("model", "stem is 3, but cnn has no such setting")]
)
def test_a_setting_that_others_followed_from_is_missed(name, message, trained, tmp_path):
    run = without(name, trained, tmp_path / "run")
    with pytest.raises(InputError, match=message):
        run.check_same(describe(*configure_command(["train", "--out", str(run.path), "--resume"])))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--method fast-at", "method = fast-bat, not fast-at"),
        ("--method free-at", "method = fast-bat, not free-at"),
        ("--eps 8", "eps = 38, not 8"),
        ("--model cnn", "model = preactresnet18, not cnn"),
        ("--dataset cifar10", "dataset = digits, not cifar10"),
        ("--protocol released", "protocol = paper, not released"),
        ("--ema 0.5", "ema = 0.9, not 0.5"),
        ("--flip", "flip = None, not True"),
        ("--momentum 0.5 --seed 3", "momentum = 0.9, not 0.5"),
    ],
)
def test_resuming_with_another_setting_names_that_setting(flags, message, trained, capsys):
    before = {file.name: file.read_bytes() for file in trained.iterdir()}
    status, _, err = call(capsys, "train", "--out", trained, "--resume", *flags.split())
    assert (status, err.count("\n")) == (2, 1)
    assert f"was started with {message}; resume with its own settings" in err
    assert {file.name: file.read_bytes() for file in trained.iterdir()} == before


def test_what_is_left_out_of_a_configuration_is_said(trained, capsys, tmp_path):
    again = (
        "--config",
        trained / "config.toml",
        "--method",
        "standard",
        "--model",
        "cnn",
        "--width",
        4,
        "--max-lr",
        0.1,
    )
    status, _, err = call(capsys, "train", *again, "--out", tmp_path / "run")
    assert status == 0
    (line,) = [line for line in err.splitlines() if line.startswith("not taken over from ")]
    names = {"ig_weight", "linearise", "mixed_at", "ig_mode", "ig_every", "attack_objective"}
    assert set(line.partition(": ")[2].split(", ")) == names


@pytest.mark.parametrize("name", METHODS)
def test_help_shows_the_true_default(name, capsys):
    out = " ".join(call(capsys, "train", "--method", name, "--help")[1].replace("│", " ").split())
    assert "fastbat list methods names them. [default: fast-bat]" in out


def test_nothing_at_all_prints_the_commands(capsys):
    status, out, _ = call(capsys)
    assert status == 0
    assert all(command in out for command in ("train", "evaluate", "list"))


def test_what_follows_from_eps_follows_from_another_eps_anew(capsys, tmp_path):
    call(capsys, *TRAIN, "--eps", 38, "--out", tmp_path / "first")
    config = read_toml(tmp_path / "first" / "config.toml")
    assert "lam" not in config
    assert config["resolved"]["lam"] == pytest.approx(0.102)
    again = ("train", "--config", tmp_path / "first" / "config.toml", "--eps", 8, "--out", tmp_path / "again")
    assert call(capsys, *again)[0] == 0
    assert read_toml(tmp_path / "again" / "config.toml")["resolved"]["lam"] == pytest.approx(0.051)
    assert load_tensors(tmp_path / "again" / "last.safetensors")[1]["config"]["lam"] == pytest.approx(0.051)


def test_the_settings_that_follow_from_eps_are_these():
    step = ("pgd-at", "pgd-2", "pgd-7", "trades", "atta", "yopo")
    expected = {name: set() for name in METHODS} | {name: {"step"} for name in step}
    expected |= {"fast-bat": {"lam"}, "fast-at-ga": {"mu"}}
    expected["liet"] = {"smoothing", "consistency", "erase_low", "erase_high", "noise_ratio", "refresh", "clip"}
    assert {name: METHODS[name](eps=8 / 255).resolved.keys() for name in expected} == expected


@pytest.mark.parametrize(("method", "name"), [("fast-at-ga", "mu"), ("trades", "step"), ("pgd-7", "step")])
def test_a_number_that_was_given_stays_under_another_eps(method, name, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(f'method = "{method}"\neps = 8\n{name} = 0.1\n')
    chosen, _ = configure_command(["train", "--config", str(config), "--eps", "16"])
    assert (getattr(chosen, name), chosen.resolved[name], chosen.eps) == (0.1, 0.1, 16 / 255)


def test_a_repetition_is_refused_in_which_something_else_would_follow(capsys, tmp_path):
    call(capsys, *TRAIN, "--eps", 38, "--out", tmp_path / "first")
    config = tmp_path / "other.toml"
    table = read_toml(tmp_path / "first" / "config.toml")
    config.write_text(tomli_w.dumps(table | {"resolved": table["resolved"] | {"lam": 0.2}}))
    status, _, err = call(capsys, "train", "--config", config, "--out", tmp_path / "again")
    assert (status, err) == (2, f"fastbat: lam was 0.2 in {str(config)!r}, and is 0.102 now; give --lam\n")
    assert not (tmp_path / "again").exists()


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
def test_a_killed_run_goes_on_where_it_was(kill, capsys, tmp_path):
    flags = ["--width", "4", "--train-limit", "50", "--select-limit", "10", "--select-steps", "2", "--eps", "38"]
    command = [sys.executable, "-m", "fastbat", "train", "--epochs", "20", *flags, "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs the tests may ignore it
    )  # fmt: skip
    while not read_records(tmp_path / "killed" / "metrics.jsonl") and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(kill)
    err = process.communicate()[1]
    assert "Traceback" not in err
    if kill == signal.SIGINT:
        assert process.returncode == 130
        assert "; resume with: fastbat train --out " in err
    done = len(read_records(tmp_path / "killed" / "metrics.jsonl"))
    assert 1 <= done < 20
    status, _, err = call(capsys, "train", "--out", tmp_path / "killed", "--resume")
    assert status == 0
    assert len([line for line in err.splitlines() if line.startswith("epoch ")]) in (20 - done, 21 - done)
    assert [r["epoch"] for r in read_records(tmp_path / "killed" / "metrics.jsonl")] == list(range(1, 21))


def test_ctrl_c_before_there_is_a_run_names_nothing_to_go_on_with(capsys, monkeypatch, tmp_path):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastbat.training.prepare.load", interrupted)
    status, _, err = call(capsys, *TRAIN, "--out", tmp_path / "run")
    assert (status, err) == (130, "fastbat: stopped\n")


def test_sigterm_ends_an_evaluation_as_ctrl_c_does_and_is_handled_as_before_afterwards(capsys, monkeypatch, tmp_path):
    def terminated(*args, **kwargs):
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("it went on")

    before = signal.getsignal(signal.SIGTERM)
    call(capsys, *TRAIN, "--out", tmp_path / "run")
    monkeypatch.setattr("fastbat.evaluation.runner.attack", terminated)
    status, _, err = call(capsys, "evaluate", tmp_path / "run", "--attacks", "clean,fgsm", "--limit", "20")
    assert (status, err.splitlines()[-1].partition(";")[0]) == (143, "fastbat: stopped")
    assert "the same command resumes where it stopped" in err
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("pgd-7", "pgd-2", {"steps": 2}),
        ("trades", "backsmooth", {"beta": 10.0}),
        ("standard", "fast-at", {"eps": 8.0}),
        ("free-at", "fast-at", {"max_lr": 0.1}),
        ("fast-at", "yopo", {"max_lr": 0.02, "step": 38 / 255 / 4}),
    ],
)
def test_what_belongs_to_one_method_is_not_taken_over_by_another(before, after, expected, capsys, tmp_path):
    tiny = ("--train-limit", 40, "--width", 2, "--select-limit", 5, "--select-steps", 1, "--epochs", 1)
    eps = () if before == "standard" else ("--eps", 38)
    call(capsys, "train", *tiny, "--method", before, *eps, "--out", tmp_path / "one")
    config = ("--config", tmp_path / "one" / "config.toml")
    status, _, err = call(capsys, "train", *config, "--method", after, "--out", tmp_path / "two")
    assert status == 0, err
    found = effective(read_toml(tmp_path / "two" / "config.toml"))
    assert {name: found[name] for name in expected} == pytest.approx(expected)


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
    assert "lam" in first["resolved"]
    assert "lam" not in second["resolved"]
    assert second["width"] == first["width"]
