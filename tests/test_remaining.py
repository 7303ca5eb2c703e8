"""How long a suite will take: from an estimate, from finished trials, from a few timed updates; and what is left."""

import json
import re

import pytest

from fastbat.cli import main
from fastbat.cli.commands import configure_command
from fastbat.files import append_record, write_json, write_records
from fastbat.provenance import processor
from fastbat.suite import read_trials, trials_of
from fastbat.suite.execute import kept_of
from fastbat.suite.remaining import ESTIMATE, RESULTS, Remaining, Seconds, duration, expected, mean_of, of_records
from fastbat.suite.rough import extrapolated, rough
from fastbat.training import Run

TRAIN = {"dataset": "digits", "model": "cnn", "eps": 30, "epochs": 10, "width": 2, "train_limit": 200}
PGD = {"attacks": "clean,pgd", "eps": "8,16"}


def trials(**more):
    return trials_of({"train": {**TRAIN, "method": "fast-at", **more}, "evaluate": [PGD, {"attacks": "fgsm"}]}, "it")


def nothing():
    raise AssertionError("it is measured though it is known")


def finished(train, epoch, attacks, cpu=None, wall=0):
    """A trial's record: seconds of its two epochs, of each attack, and of its process."""
    return {
        "trial": "x", "status": "finished", "train": {**TRAIN, **train},
        "epochs": [{"seconds": epoch - 1, "select_seconds": 1}] * 2,
        "results": [{"accuracies": [{"attack": name, "seconds": each} for name, each in attacks.items()]}],
        "provenance": [{"machine": {"cpu": cpu or processor()}}],
        "started": "2026-11-29T10:00:00+00:00", "ended": f"2026-11-29T10:{wall // 60:02}:{wall % 60:02}+00:00",
    }  # fmt: skip


def test_what_is_left_of_a_trial_is_counted_by_its_files(tmp_path):
    (trial,) = trials()
    run, takes = Run(trial.place(tmp_path)), Seconds(training=100, evaluation=40, start=3)
    assert takes.left(trial, tmp_path) == 143
    run.path.mkdir()
    write_records(run.metrics, [{"epoch": i} for i in range(3)])
    write_records(kept_of(run), [{"train": trial.train}])
    assert takes.left(trial, tmp_path) == pytest.approx(70 + 40 + 3)
    append_record(kept_of(run), {"trained": "then"})  # as where the guard has stopped it early
    append_record(kept_of(run), {"evaluate": {"attacks": "fgsm", "eps": 30}, "result": {}})  # its own budget, spelt out
    append_record(kept_of(run), {"evaluate": {"attacks": "noise"}, "result": {}})  # of another suite
    assert takes.left(trial, tmp_path) == pytest.approx(20 + 3)
    append_record(kept_of(run), {"evaluate": PGD, "result": {}})
    assert takes.left(trial, tmp_path) == 0


def test_an_estimate_comes_first_and_is_an_upper_bound(tmp_path):
    cost = {"trial": "fast-at", "steps": 50, "seconds_per_step": 2.0, "selection": 3.0, "epochs": 10, "evaluation": 470}
    write_json(tmp_path / ESTIMATE, {"trials": [cost]})
    found, words = expected(trials(), tmp_path, nothing)
    assert found == {"fast-at": Seconds(100 + 30, 470)}
    assert Remaining(trials(), tmp_path, 2, nothing).at_first() == "at most 5 min by estimate.json"
    assert words == "at most {} by estimate.json"


def test_finished_trials_tell_of_others_by_their_training_and_their_network(tmp_path):
    out, beside = tmp_path / "here", tmp_path / "beside"
    out.mkdir()
    beside.mkdir()
    (trial,) = trials(seed=5)
    records = [
        finished({"method": "fast-at", "seed": 0}, 10, {"clean": 1, "pgd": 30}, wall=60),  # 9 s beside 20 and 31
        finished({"method": "fast-at", "seed": 1}, 20, {"clean": 3, "pgd": 50}, wall=10),  # of another suite's training
        finished({"method": "pgd-7", "seed": 0}, 60, {"fgsm": 4}, wall=127),  # 3 s
        finished({"method": "fast-at", "width": 64}, 999, {"pgd": 999}),  # another network
        finished({"method": "fast-at"}, 999, {"pgd": 999}, cpu="another"),
        finished({"method": "fast-at"}, 999, {"pgd": 999}) | {"status": "failed"},
    ]
    write_records(out / RESULTS, records[:1])
    write_records(beside / RESULTS, records[1:])
    attacks = 2 + 2 * 40 + 4  # clean once, pgd at two budgets, fgsm
    assert of_records([trial], out) == {trial.name: Seconds((20 + 40) / 2, attacks, 6)}
    (other,) = trials(method="n-fgsm")
    assert of_records([other], out) == {other.name: Seconds((20 + 40 + 120) / 3, attacks, 6)}
    assert Remaining([trial, other], out, 1, nothing).at_first() == "about 5 min by finished trials"


def test_what_nothing_is_known_of_is_measured_once_and_the_rest_takes_as_long_as_the_others(tmp_path):
    known, wide, new = trials(method="n-fgsm") + trials(width=64) + trials(model="preactresnet18", method="pgd-2")
    (tmp_path / "x").mkdir()
    write_records(
        tmp_path / "x" / RESULTS, [finished({"method": "n-fgsm"}, 10, {"clean": 0, "pgd": 5, "fgsm": 0}, wall=30)]
    )
    cost = {"trial": "fast-at", "steps": 1, "seconds_per_step": 40.0, "selection": 0, "epochs": 1, "evaluation": 2}
    found, words = expected([known, wide, new], tmp_path / "y", lambda: [cost])
    assert found == {"n-fgsm": Seconds(20, 10, 5), "fast-at": Seconds(40, 2), "pgd-2": Seconds(30, 6, 2.5)}
    assert words == "about {} by a few timed updates"
    assert mean_of(list(found.values())[:2]) == found["pgd-2"]
    alike = Remaining([wide, new], tmp_path / "z" / "y", 1, list)
    assert alike.at_first() == ""
    assert alike.now([wide, new]) == (0.0, "time unknown")


def test_the_time_left_follows_from_the_share_that_is_done(tmp_path, monkeypatch):
    both, now = trials(seed=[0, 1]), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    costs = [{"trial": each.name, "steps": 1, "seconds_per_step": 540.0, "selection": 0, "epochs": 10, "evaluation": 60}
             for each in both]  # fmt: skip
    remaining = Remaining(both, tmp_path, 2, lambda: costs)
    assert remaining.at_first() == "about 10 min by a few timed updates"
    now[0] = 60.0
    assert remaining.now(both) == (0.0, "about 10 min left")
    run = Run(both[0].place(tmp_path))
    run.path.mkdir()
    write_records(run.metrics, [{"epoch": i} for i in range(10)])  # 540 of 1,200 s, in 1,080 s
    now[0] = 1080.0
    assert remaining.now(both) == (pytest.approx(0.45), "about 22 min left")
    assert remaining.now([]) == (1.0, "")
    assert [duration(seconds) for seconds in (1, 300, 5399, 9000)] == ["1 min", "5 min", "90 min", "2.5 h"]


def test_the_time_of_a_batch_lies_on_a_line_or_is_measured_where_that_is_quick():
    asked = []

    def seconds(start, each):
        return lambda n: asked.append(n) or start + each * n

    assert extrapolated(seconds(0.1, 0.5), 128) == pytest.approx(0.1 + 0.5 * 128)
    assert extrapolated(seconds(0.1, 0.001), 128) == pytest.approx(0.1 + 0.001 * 128)
    assert extrapolated(seconds(0.1, 0.5), 10) == pytest.approx(0.1 + 0.5 * 10)
    assert extrapolated(seconds(0.1, 0.5), 2) == pytest.approx(0.1 + 0.5 * 2)
    assert max(asked[:3]) == 16


SUITE = """
[train]
dataset = "digits"
width = 2
train_limit = 300
select_limit = 20
epochs = 2
ema = 0.9
eps = [8, 16]
[[arm]]
method = ["fast-at", "atta", "free-at"]
[[arm]]
method = "fast-bat"
lam = [0.1, 0.2]
model = "preactresnet18"
compile = true
[[arm]]
method = "standard"
evaluate = { attacks = "clean", limit = 5 }
[evaluate]
attacks = "clean,fgsm"
limit = 5
"""


def test_a_rough_estimate_counts_what_an_estimate_counts_and_keeps_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "table.toml"
    file.write_text(SUITE)
    monkeypatch.setattr("fastbat.suite.rough.SECONDS", 1e6)  # however busy the machine is
    main(["suite", "estimate", str(file), "--rough", "--json"])
    found = json.loads(capsys.readouterr().out)["trials"]
    assert [each["trial"] for each in found] == [trial.name for trial in read_trials(file)]
    assert {each["steps"] for each in found} == {6, 48}
    assert all(each["seconds_per_step"] > 0 and each["evaluation"] > 0 for each in found)
    assert len({each["seconds_per_step"] for each in found}) == 5  # kinds: eps and lam change nothing
    assert [path.name for path in tmp_path.iterdir()] == ["table.toml"]
    with pytest.raises(SystemExit):
        main(["suite", "estimate", str(file), "--rough", "--out", "out"])
    assert "a rough estimate is not kept; leave out --out or --rough" in capsys.readouterr().err
    monkeypatch.setattr("fastbat.suite.rough.SECONDS", 0)
    costs = rough(read_trials(file), lambda words: configure_command(["train", *words]))
    assert len({each.seconds_per_step for each in costs}) == 1


def test_a_suite_says_for_how_long_it_will_run_whatever_is_known(in_process, tmp_path, capsys):
    file, text = tmp_path / "table.toml", SUITE[: SUITE.index("[[arm]]")] + "method = 'fast-at'\n"
    for seeds, words in (("[0]", "a few timed updates"), ("[0, 1]", "finished trials"), ("[0, 1]", "")):
        file.write_text(text.replace("ema = 0.9", f"seed = {seeds}"))
        main(["suite", "run", str(file), "--out", str(tmp_path / "out")])
        first, *_ = re.findall(r"^\d trials, .*$", capsys.readouterr().err, re.MULTILINE)
        assert re.fullmatch(rf"\d trials, . of them finished before(; about \d+ min by {words})?", first)
        assert ("about" in first) == bool(words)
