"""Suites: a table becomes trials, all are checked before the first, finished ones stay, failures stop nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import percent
from fastbat.audit import evaluate_target
from fastbat.cli import main
from fastbat.errors import InputError
from fastbat.files import locked, read_records, write_records
from fastbat.report import write_report
from fastbat.results.read import read
from fastbat.suite import local, read_trials, run_suite
from fastbat.suite.estimate import evaluation_passes
from fastbat.suite.processes import ChildError, Children
from fastbat.suite.trials import flags
from fastbat.training import Run

TINY = """
[train]
dataset = "digits"
width = 2
epochs = 2
train_limit = 300
select_limit = 20
select_steps = 1
method = "fast-at"
eps = 30
"""
EVALUATE = """
[evaluate]
attacks = "clean,pgd"
pgd_steps = 2
pgd_restarts = 1
limit = 20
checkpoint = ["best", "last"]
"""


def table(tmp_path, text):
    file = tmp_path / "table.toml"
    file.write_text(text)
    return file


def fastbat(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def test_lists_are_dimensions_and_arms_are_rows(tmp_path):
    trials = read_trials(
        table(
            tmp_path,
            """
            [train]
            dataset = "digits"
            eps = [8, 16]
            seed = [0, 1]
            [[arm]]
            method = ["fast-at", "n-fgsm"]
            [[arm]]
            name = "no ig"
            method = "fast-bat"
            ig_mode = "none"
            seed = 7
            [evaluate]
            attacks = "clean"
            checkpoint = ["best", "last"]
            """,
        )
    )
    names = [trial.name for trial in trials]
    assert names[:5] == ["fast-at-eps8-seed0", "n-fgsm-eps8-seed0", "fast-at-eps16-seed0", "n-fgsm-eps16-seed0",
                         "fast-at-eps8-seed1"]  # fmt: skip
    assert names[8:] == ["no_ig-eps8", "no_ig-eps16"]
    assert trials[-1].train == {
        "dataset": "digits", "eps": 16, "seed": 7, "method": "fast-bat", "ig_mode": "none",
    }  # fmt: skip
    assert [evaluation["checkpoint"] for evaluation in trials[0].evaluations] == ["best", "last"]
    assert flags({"train_limit": 5, "flip": False, "lam": 0.1}) == ["--train-limit=5", "--flip=false", "--lam=0.1"]


SURROGATE = """
[train]
eps = 8
[[arm]]
name = "a"
evaluate = {{ attacks = "transfer", surrogates = "{0}" }}
[[arm]]
name = "b"
step_ratio = 1
method = "fast-at"
evaluate = {{ attacks = "transfer", surrogates = "{1}" }}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nmethod = 'fast-bta'", "trial 'fast-bta': unknown method 'fast-bta'; did you mean 'fast-bat'"),
        ("[train]\nepohcs = 3", r"trial 'fast-bat': Unknown option: --epohcs. Did you mean --epochs\?"),
        ("[train]\nepochs = 2.5", "Invalid value for --epochs: 2.5 is not a whole number"),
        ("[train]\nepochs = [2, 0]", "trial 'fast-bat-epochs0': epochs is 0; it must be at least 1"),
        ("[train]\nwidth = 4\nmodel = 'timm/resnet18'", "width is 4, but timm/resnet18 has no such setting"),
        ("[train]\nlam = -1", "lam is -1"),
        ("[train]\n[evaluate]\nattacks = 'clean,apgd'", "unknown attack 'apgd'"),
        ("[train]\n[evaluate]\nsteps = 3", "Unknown option"),
        ("[trian]\nepochs = 2", "unknown part of .* 'trian'; did you mean 'train'"),
        ("[train]\n[[arm]]\n[[arm]]", "has two trials 'fast-bat'; give each arm a name of its own"),
        (
            "stands_for.digits = 'cifar10'",
            r"stands_for in .* is no table of data sets, such as: digits = \[\"cifar10\"\]",
        ),
        ("train = 3", r"should hold tables: \[train\], \[\[arm\]\], \[evaluate\] or \[\[evaluate\]\]"),
        ("evaluate = 3", r"should hold tables: \[train\], \[\[arm\]\], \[evaluate\] or \[\[evaluate\]\]"),
        ("[train", "is not TOML"),
        (SURROGATE.format("b", "plian"), "unknown surrogate in .* 'plian'; known: a, b"),
        (SURROGATE.format("b", "a"), "trials name each other as surrogates: a -> b -> a|b -> a -> b"),
        ("[train]\n[diagnose]\nlimit = 0", "trial 'fast-bat': limit is 0; it must be at least 1"),
        ("[train]\n[diagnose]\nout = 'x'", "out in .* is no setting of a table"),
        ("[train]\nmethod = 'standard'\n[diagnose]\nlimit = 4", r"set eps in \[diagnose\]"),
        ("[train]\ndiagnose = []", "diagnose in .* is an empty list, which leaves no trial"),
    ],
)
def test_a_bad_table_is_one_line_and_nothing_is_started(text, message, tmp_path, capsys):
    assert fastbat("suite", "run", table(tmp_path, text), "--out", tmp_path / "out") == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert re.search(message, line)
    assert not (tmp_path / "out").exists()


WILD = "[[arm]]\nname = 'wild'\nmax_lr = 1e6\nmethod = 'standard'\n"


def test_trials_run_at_a_time_in_a_process_each_and_a_failure_stops_no_other(tmp_path, monkeypatch, capsys):
    out, started, start = tmp_path / "a suite", [], Children.start
    monkeypatch.setattr(Children, "start", lambda self, log: started.append(log.name) or start(self, log))
    text = TINY + WILD + "[[arm]]\n[evaluate]\nattacks = 'clean,pgd'\npgd_steps = 2\npgd_restarts = 1\nlimit = 20\n"
    assert fastbat("suite", "run", table(tmp_path, text), "--out", out, "--jobs", 2) == 1
    said = capsys.readouterr().err
    assert "wild: running, with its output in wild.log" in said
    assert "wild: failed: training diverged in epoch" in said
    records = {record["trial"]: record for record in read_records(out / "results.jsonl")}
    assert (records["wild"]["status"], records["fast-at"]["status"]) == ("failed", "finished")
    assert records["wild"]["error"].startswith("training diverged")
    assert records["wild"]["error"].endswith("(exit status 2; wild.log)")
    assert records["fast-at"]["results"][0]["n"] == 20
    assert sorted(set(started) - {"null"}) == ["fast-at.log", "wild.log"]  # null: of the estimate, which keeps no log
    assert len(started) == 3
    assert [line.split()[2] for line in (out / "fast-at.log").read_text().splitlines() if line.startswith("$ ")] == [
        "train", "evaluate",
    ]  # fmt: skip
    alone = evaluate_target(out / "fast-at", attacks=("clean", "pgd"), pgd_steps=2, pgd_restarts=1, limit=20)
    same = [{**each, "seconds": 0} for each in records["fast-at"]["results"][0]["accuracies"]]
    assert [{**each, "seconds": 0} for each in alone.record()["accuracies"]] == same
    capsys.readouterr()
    main(["suite", "status", str(out), "--json"])
    wild, _ = json.loads(capsys.readouterr().out)["trials"]
    assert (wild["state"], wild["error"]) == ("failed", records["wild"]["error"])


def test_a_trials_process_runs_one_command_after_another_until_it_dies(tmp_path):
    log = tmp_path / "trial.log"
    with Children().process(log) as child:
        assert json.loads(child.execute(["list", "attacks", "--json"]))["aa"]
        with pytest.raises(ChildError, match=r"unknown method 'fast-bta'; .* \(exit status 2; trial.log\)"):
            child.execute(["train", "--method=fast-bta"])
        assert "fast-bat" in child.execute(["list", "methods", "--json"])
        child.process.kill()
        with pytest.raises(ChildError, match=r"\(exit status -9; trial.log\)"):
            child.execute(["list", "methods"])
    assert log.read_text().count("$ fastbat list") == 3


def test_a_suite_runs_each_trial_once(in_process, tmp_path, capsys):
    out, text = tmp_path / "a suite", TINY + WILD + "[[arm]]\nseed = [0, 1]\n" + EVALUATE
    assert fastbat("suite", "run", table(tmp_path, text), "--out", out) == 1
    records = {record["trial"]: record for record in read_records(out / "results.jsonl")}
    assert {name: record["status"] for name, record in records.items()} == {
        "wild": "failed", "fast-at-seed0": "finished", "fast-at-seed1": "finished",
    }  # fmt: skip
    assert [result["settings"]["target"] for result in records["fast-at-seed1"]["results"]] == [
        "best.safetensors", "last.safetensors",
    ]  # fmt: skip
    assert records["fast-at-seed1"]["results"][0]["n"] == 20
    assert [epoch["epoch"] for epoch in records["fast-at-seed1"]["epochs"]] == [1, 2]
    written = {path: path.stat().st_mtime_ns for path in (out / "fast-at-seed0").iterdir()}
    fastbat("suite", "run", out / "suite.toml", "--out", out)  # only the failed one again
    assert "3 trials, 2 of them finished before" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (out / "fast-at-seed0").iterdir()} == written
    assert [record["trial"] for record in read_records(out / "results.jsonl")].count("wild") == 2
    main(["suite", "status", str(out), "--json"])
    rows = json.loads(capsys.readouterr().out)["trials"]
    assert [row["trial"] for row in rows] == ["wild", *["fast-at-seed0"] * 2, *["fast-at-seed1"] * 2]
    assert rows[0]["state"] == "failed"
    assert rows[0]["error"] == "exit status 2"
    assert rows[1]["sa"] == percent(records["fast-at-seed0"]["results"][0], "clean")
    main(["suite", "status", str(out)])
    assert "fast-at-seed0" in capsys.readouterr().out


def test_a_trial_whose_settings_were_edited_is_not_taken_for_the_old_one(in_process, tmp_path, capsys):
    out = tmp_path / "out"
    main(["suite", "run", str(table(tmp_path, TINY + "step_ratio = 0.5\n")), "--out", str(out)])
    assert fastbat("suite", "run", table(tmp_path, TINY), "--out", out) == 1
    assert "was begun with step_ratio = 0.5; remove it, or name another --out" in capsys.readouterr().out
    assert read_records(out / "results.jsonl")[-1]["status"] == "failed"


def test_a_finished_evaluation_is_not_made_again(in_process, tmp_path):
    out, text = tmp_path / "out", TINY + '\n[evaluate]\nattacks = "clean,fgsm"\nlimit = 20\n'
    for more in ("", "eps = [8, 16]\n"):
        main(["suite", "run", str(table(tmp_path, text + more)), "--out", str(out)])
    made = read_records(out / "fast-at" / "evaluation.jsonl")
    assert [record["accuracies"][1]["eps_255"] for record in made] == [30, 8, 16]
    main(["suite", "run", str(table(tmp_path, text + "eps = [16, 30, 4, 8]\n")), "--out", str(out)])  # 30: its own
    made = read_records(out / "fast-at" / "evaluation.jsonl")
    assert [record["accuracies"][1]["eps_255"] for record in made] == [30, 8, 16, 4]


def test_what_belongs_to_a_damaged_beginning_is_made_again(in_process, tmp_path, capsys):
    out, text = tmp_path / "out", table(tmp_path, TINY + EVALUATE.replace('["best", "last"]', '"last"'))
    main(["suite", "run", str(text), "--out", str(out)])
    (before,) = read_records(out / "results.jsonl")
    begun = out / "fast-at.begun.jsonl"
    whole = read_records(begun)[0]
    begun.write_text(begun.read_text().replace('"eps": 30', '"eps": 31', 1))
    (out / "results.jsonl").unlink()
    main(["suite", "run", str(text), "--out", str(out)])
    assert f"{begun}: line 1 was altered or cut short; it is left out" in capsys.readouterr().err
    (after,) = read_records(out / "results.jsonl")
    assert [each["mask"] for each in after["results"][0]["accuracies"]] == [
        each["mask"] for each in before["results"][0]["accuracies"]
    ]
    assert read_records(begun)[0] == whole
    assert len(read_records(out / "fast-at" / "evaluation.jsonl")) == 2


NAMED = """
[train]
dataset = "digits"
width = 2
epochs = 1
train_limit = 300
select_limit = 20
select_steps = 1
[[arm]]
method = "fast-at"
eps = 30
[[arm]]
name = "plain"
method = "standard"
evaluate = { attacks = "clean", limit = 10 }
[evaluate]
attacks = "clean,transfer"
surrogates = "plain"
limit = 20
"""


def test_an_evaluation_names_another_trial_which_is_trained_first(in_process, tmp_path):
    out = tmp_path / "out"
    main(["suite", "run", str(table(tmp_path, NAMED)), "--out", str(out)])
    plain, attacked = read_records(out / "results.jsonl")
    assert (plain["trial"], attacked["trial"]) == ("plain", "fast-at")
    assert [each["attack"] for result in plain["results"] for each in result["accuracies"]] == ["clean"]
    assert [each["label"] for each in attacked["results"][0]["accuracies"]] == ["SA", "RA-transfer-plain"]
    undefended = attacked["results"][0]["settings"]["surrogates"]["plain"]
    assert undefended == plain["results"][0]["settings"]["weights"]
    main(["suite", "run", str(out / "suite.toml"), "--out", str(out)])
    assert len(read_records(out / "results.jsonl")) == 2


def test_a_trial_is_looked_at_once(in_process, tmp_path):
    out, text = tmp_path / "out", NAMED[: NAMED.index("[[arm]]")] + "method = 'fast-at'\neps = 30\n"
    text += "[diagnose]\nlimit = 4\nexamples = 1\ncheckpoint = ['best', 'last']\n"
    for _ in range(2):
        main(["suite", "run", str(table(tmp_path, text)), "--out", str(out)])
        (out / "results.jsonl").unlink()  # as where another suite with the same store begins
    log = (out / "fast-at.log").read_text()
    assert log.count("$ fastbat diagnose") == 2
    looks = read([out / "fast-at"]).looks
    assert [look.settings["target"] for look in looks] == ["best.safetensors", "last.safetensors"]


def test_weights_that_are_the_same_are_measured_once(in_process, tmp_path):
    out = tmp_path / "out"
    text = TINY.replace("epochs = 2", "epochs = 1")
    text += '\n[evaluate]\nattacks = "clean,fgsm"\nlimit = 20\ncheckpoint = ["best", "last"]\n'
    main(["suite", "run", str(table(tmp_path, text)), "--out", str(out)])
    results = read_records(out / "results.jsonl")[-1]["results"]
    assert [result["settings"]["target"] for result in results] == ["best.safetensors", "last.safetensors"]
    assert results[0]["accuracies"] == results[1]["accuracies"]
    assert len(read_records(out / "fast-at" / "evaluation.jsonl")) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[evaluate]\nlimit = 0", "limit is 0"),
        ('[evaluate]\neps = "a"', "eps is 'a'; it must be numbers"),
        ("[evaluate]\npgd_steps = 0", "pgd_steps is 0"),
        ('[evaluate]\ncheckpoint = "best-ema"', "no average is trained; set ema"),
        ("[evaluate]\njson = true", "json in "),
        ("resume = true", "resume in "),
        ("seed = []", "is an empty list, which leaves no trial"),
        ('[[arm]]\nname = ".."', "has a trial '..'; name it with letters"),
        ('[[arm]]\nname = "results.jsonl"', "has a trial 'results.jsonl'"),
    ],
)
def test_a_table_that_cannot_be_run_is_refused_before_any_training(line, message, tmp_path, capsys):
    assert fastbat("suite", "run", table(tmp_path, f"{TINY}{line}\n"), "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_attack_needs_a_budget_of_the_training_or_of_the_table(tmp_path, capsys):
    text = '[train]\ndataset = "digits"\nmethod = "standard"\n[evaluate]\n'
    assert fastbat("suite", "run", table(tmp_path, text), "--out", tmp_path / "out") == 2
    assert "it is attacked, but trained against no budget; set eps in [evaluate]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def without_times(out):
    """Write every time in the records of a suite as the same, and of the starts of a training the first alone."""
    same = (
        ("seconds", "select_seconds", "images_per_second", "peak_memory_mib"), ("started", "ended", "time"),
    )  # fmt: skip

    def plain(value):
        if isinstance(value, list):
            return [plain(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {name: 1.0 if name in same[0] else "then" if name in same[1] else plain(v) for name, v in value.items()}

    records = plain(read_records(out / "results.jsonl"))
    write_records(out / "results.jsonl", [each | {"provenance": each["provenance"][:1]} for each in records])


def test_a_killed_suite_goes_on_where_it_was_and_ends_with_the_same_report(in_process, tmp_path, monkeypatch):
    text = TINY.replace("epochs = 2", "epochs = 40").replace("300", "50") + "seed = [0, 1]\n"
    text += EVALUATE.replace('["best", "last"]', '"last"')
    file, pages = table(tmp_path, text), []
    command = ["suite", "run", str(file), "--out", "out"]
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        out = Path("out")
        first = Run(out / "fast-at-seed0")
        if name == "killed":
            child = subprocess.Popen([sys.executable, "-m", "fastbat", *command], stderr=subprocess.DEVNULL)
            while len(read_records(first.metrics)) < 3:
                assert child.poll() is None
                time.sleep(0.02)
            child.kill()  # the suite alone, not the trainings that it has begun
            child.wait()
            assert not read_records(out / "results.jsonl")
            with locked_soon(first.path):  # its training has ended with it
                pass
            assert "fastbat: stopped in epoch " in (out / "fast-at-seed0.log").read_text()  # with its state on disk
        main(command)
        records = read_records(out / "results.jsonl")
        assert [record["status"] for record in records] == ["finished"] * 2
        assert [epoch["epoch"] for epoch in records[0]["epochs"]] == list(range(1, 41))
        assert ("--resume" in (out / "fast-at-seed0.log").read_text()) == (name == "killed")
        without_times(out)
        pages.append(write_report([out], tmp_path / f"{name}.html").read_bytes())
    assert pages[0] == pages[1]


@contextmanager
def locked_soon(folder):
    """Lock a run directory as soon as its training lets go of it."""
    for _ in range(500):
        try:
            with locked(folder, "training"):
                yield
            return
        except InputError:
            time.sleep(0.02)
    pytest.fail("the training still runs")


@pytest.mark.parametrize(
    ("number", "status", "to_all"),
    [(signal.SIGINT, 130, False), (signal.SIGTERM, 143, True)],
    ids=["as a process manager, to the suite alone", "as a scheduler, to the trials, too"],
)
def test_a_signal_ends_the_trials_too_and_says_how_to_go_on(number, status, to_all, tmp_path):
    out, text = tmp_path / "out", TINY.replace("epochs = 2", "epochs = 5000")
    command = [sys.executable, "-m", "fastbat.cli", "suite", "run", str(table(tmp_path, text)), "--out", str(out)]
    child = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    run = Run(out / "fast-at")
    while not read_records(run.metrics):
        assert child.poll() is None
        time.sleep(0.02)
    (os.killpg if to_all else os.kill)(child.pid, number)
    err = child.communicate(timeout=60)[1]
    assert child.returncode == status
    assert err.strip().endswith("stopped; the same command resumes where it stopped")
    with locked(run.path, "training"):  # nobody trains in it any more
        pass
    assert len(read_records(run.metrics)) < 5000
    *_, last = (out / "fast-at.log").read_text().splitlines()
    assert last.startswith("fastbat: stopped in epoch ")  # after its step, with its state on disk


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--jobs 0", "jobs is 0; at least one trial runs at a time"),
        ("--cpus 2", "address, cpus and gpus are of a cluster; add --engine ray"),
        ("--engine ray --gpus -1", "gpus is -1.0; a trial takes that many of a cluster, at least 0"),
        ("--engine ray", "--engine ray needs Ray: pip install 'fastbat[cluster]'"),
    ],
)
def test_an_engine_that_cannot_run_is_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fastbat.suite.engine.find_spec", lambda name: None if words == "--engine ray" else True)
    assert fastbat("suite", "run", table(tmp_path, TINY), "--out", tmp_path / "out", *words.split()) == 2
    assert capsys.readouterr().err == f"fastbat: {message}\n"
    assert not (tmp_path / "out").exists()


def test_two_suites_cannot_run_in_one_folder(tmp_path):
    file = table(tmp_path, TINY)
    with (
        locked(tmp_path / "out", "running trials"),
        pytest.raises(InputError, match="another process is running trials"),
    ):
        run_suite(read_trials(file), file.read_text(), tmp_path / "out", local(tmp_path / "out", {}, 1), 1)


def test_status_of_a_folder_without_a_suite_says_how_to_start_one(tmp_path, capsys):
    assert fastbat("suite", "status", tmp_path) == 2
    assert "start one with: fastbat suite run FILE.toml" in capsys.readouterr().err


def test_the_estimate_counts_the_steps_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = TINY + "seed = [0, 1]\n[[arm]]\n[[arm]]\nmethod = 'free-at'\n"
    main(["suite", "estimate", str(table(tmp_path, text)), "--json"])
    found = json.loads(capsys.readouterr().out)
    steps = {cost["trial"]: cost["steps"] for cost in found["trials"]}
    assert steps == {"fast-at-seed0": 6, "fast-at-seed1": 6, "free-at-seed0": 48, "free-at-seed1": 48}
    assert found["hours"] == pytest.approx(sum(cost["hours"] for cost in found["trials"]))
    assert found["hours"] > 0
    assert evaluation_passes({"attacks": "clean,pgd,aa", "eps": "8,16"}, 100) == 100 * 2 * (1 + 500 + 4_300)
    assert evaluation_passes({"attacks": "fgsm", "limit": 10}, 100) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["table.toml"]


def test_an_estimate_kept_in_a_suites_folder_says_how_long_it_will_take(in_process, tmp_path, capsys):
    file = table(tmp_path, TINY + "seed = [0, 1]\n")
    main(["suite", "estimate", str(file), "--out", str(tmp_path / "out"), "--json"])
    hours = json.loads(capsys.readouterr().out)["hours"]
    assert json.loads((tmp_path / "out" / "estimate.json").read_text())["hours"] == hours
    assert hours < 1
    main(["suite", "run", str(file), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert "2 trials, 0 of them finished before; at most 1 min by estimate.json" in said
    assert re.search(r"fast-at-seed0: finished; 1 of 2 done, about \d+ min left", said)
    assert re.search(r"fast-at-seed1: finished; 2 of 2 done$", said, re.MULTILINE)
