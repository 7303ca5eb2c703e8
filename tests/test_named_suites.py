"""Suites by name: every table and figure at every scale is a table of trials; trainings are shared."""

import json
import shutil
from collections import Counter
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
from PIL import Image

from fastbat.cli import main
from fastbat.cli.commands import check_command
from fastbat.files import read_records
from fastbat.paper import cells, printed
from fastbat.randomness import generator
from fastbat.report import write_report
from fastbat.results import table
from fastbat.results.names import shown
from fastbat.suite import check_all, inputs_of, named, read_trials, trials_of
from fastbat.suite.stand_in import stand_in
from fastbat.suite.trials import key
from fastbat.training.run import completed

SCALES = list(named.SCALES)
PAPER = [name for name in named.names() if name != "leaderboard"]
ARMS = {  # at the paper's scale: trainings but for their seed, and seeds; ours are those that the paper has not
    "table1": (18, 10), "table2": (8 + 2, 10), "table3": (16, 10), "table4": (4, 10), "table5": (4 + 2, 10),
    "table6": (2, 2),
    "table7": (5 + 2, 10), "table8": (8 + 1, 10), "table9": (4, 10), "table10": (16 + 2, 10), "table11": (18, 3),
    "figure1": (32, 10), "figure2": (8, 10), "figure3": (3, 3),
}  # fmt: skip
SURROGATES = ["preactresnet18", "preactresnet50", "wideresnet-16-8"]  # of Table 4: one of each, undefended


@cache
def trials_at(name, scale):
    """The trials of a suite at a scale, in their order; a list that is shared."""
    return trials_of(named.at_scale(name, scale), name)


@pytest.mark.parametrize("scale", named.scales())
def test_every_command_of_the_suites_would_be_accepted(scale, tmp_path):
    tables = {name: named.at_scale(name, scale) for name in named.names() if scale in named.scales(name)}
    trials = {each.run: each for name in tables for each in trials_at(name, scale)}
    first = [each for each in trials.values() if not each.train["seed"]]
    check_all(first, tmp_path, check_command, {} if scale == "smoke" else {"data_dir": tmp_path})
    assert all(table["title"].endswith(f" ({scale} scale)") for table in tables.values())


@pytest.mark.parametrize("name", named.names())
def test_the_first_seed_of_every_arm_comes_before_the_second(name):
    largest = next(iter(named.scales(name)))
    seeds = [each.train["seed"] for each in trials_at(name, largest) if "eps" in each.train]
    assert seeds == sorted(seeds)
    assert len(set(Counter(seeds).values())) == 1


@pytest.mark.parametrize("name", ARMS)
def test_at_the_papers_scale_a_suite_has_the_papers_arms(name):
    every = trials_at(name, "paper")
    trials = [each for each in every if "eps" in each.train]
    seeds = len({each.train["seed"] for each in trials})
    assert (len(trials) // seeds, seeds) == ARMS[name]
    assert trials[0].train["eps"] == {"table4": 8, "table6": 2}.get(name, 16)  # first
    assert [each.name for each in every[: len(every) - len(trials)]] == (SURROGATES if name == "table4" else [])


@pytest.mark.parametrize("number", [1, 2, 3, 4, 6, 7, 8, 9, 10])
def test_every_accuracy_that_the_paper_prints_of_a_table_has_its_trainings(number):
    arms = [completed(each.train) for each in trials_at(f"table{number}", "paper") if not each.train["seed"]]
    attacks = ("clean", "pgd", "aa", *(f"transfer-{name}" for name in SURROGATES))
    found = {cell for arm in arms for attack in attacks for eps in (2, 8, 16)
             for cell in map(id, printed(arm, attack, eps))}  # fmt: skip
    wanted = [cell for cell in cells() if cell.table == number and cell.metric != "time"]
    assert [cell for cell in wanted if id(cell) not in found] == []


def test_the_small_table_2_is_the_one_whose_trainings_are_kept():
    trials = {each.name: each for each in trials_at("table2", "cpu")}
    assert list(trials)[:6] == [
        "fast-bat-eps16-seed0", "fast-at-eps16-seed0", "pgd-2-eps16-seed0", "fast-at-ga-eps16-seed0",
        "none-eps16-seed0", "fast-bat-eps8-seed0",
    ]  # fmt: skip
    mine = {
        "dataset": "cifar10", "protocol": "released", "train_limit": 25000, "model": "preactresnet18",
        "shortcut": "raw", "width": 16, "eps": 16, "seed": 0, "epochs": 10, "precision": "bf16", "compile": True,
        "ema": 0.99,
        "ga_images": 1000, "select_steps": 10, "select_restarts": 1, "select_limit": 1000, "method": "pgd-2",
    }  # fmt: skip
    assert key(trials["pgd-2-eps16-seed0"].train) == key(mine)
    assert key(mine) != key(mine | {"seed": 1})
    assert key(mine) == key(mine | {"data_dir": "elsewhere", "eps": 16.0})


def test_what_stands_in_for_what_is_part_of_a_table():
    found = {scale: {name: named.at_scale(name, scale).get("stands_for") for name in PAPER} for scale in SCALES}
    assert not any(found["paper"].values())
    assert {name: each for name, each in found["cpu"].items() if each} == {
        "table6": {"tiny-imagenet": ["imagenet with resnet50"]},
    }  # fmt: skip
    assert found["smoke"].pop("table1") == {"digits": ["cifar10", "cifar100", "tiny-imagenet"]}
    assert found["smoke"].pop("table6") == {"digits": ["imagenet with resnet50"]}
    assert all(each == {"digits": ["cifar10"]} for each in found["smoke"].values())


def test_suites_share_their_trainings():
    keys = {name: {key(each.train) for each in trials_at(name, "cpu")} for name in named.names()}
    assert len(keys["leaderboard"] & keys["table2"]) == 30
    assert keys["table2"] > keys["figure2"] | keys["figure3"]
    assert len(keys["table2"] & keys["table4"]) == 3 * 4
    assert len(keys["table2"] & keys["table1"]) == 3 * 6
    assert len(keys["table2"] & keys["figure1"]) == 3 * 8
    assert len(keys["table2"] & keys["table5"]) == 3 * 2 + 3 * 2  # Hessian-free, and without the term


def test_appendix_e_looks_closer_at_a_training_of_table_2_and_at_a_smooth_network():
    trials = {each.name: each for each in trials_at("appendix-e", "cpu")}
    table2 = {each.name: each for each in trials_at("table2", "cpu")}
    assert key(trials["trained-seed1"].train) == key(table2["fast-bat-eps8-seed1"].train)
    assert trials["one-epoch-seed0"].train["epochs"] == 1
    smooth = trials["smooth-linearisepgd-nosign-seed2"]
    assert (smooth.train["activation"], smooth.train["dataset"], smooth.train["method"]) == (
        "softplus",
        "digits",
        "fast-bat",
    )
    looks = {scale: trials_at("appendix-e", scale)[-1].looks[0] for scale in SCALES}
    decays = {scale: look["decay_over"] for scale, look in looks.items()}
    assert decays == {"paper": "316,1000,3162,10000", "cpu": "316,1000,3162", "smoke": "4,16"}
    assert named.names()[-4:] == ["figure2", "figure3", "appendix-e", "leaderboard"]


def test_the_leaderboard_has_equal_epochs_and_equal_cost_and_the_public_protocol():
    steps = {"fast-at": 5, "n-fgsm": 5, "fgsm-rs-cs": 5, "sora": 5, "nuat": 8}  # F a step
    for scale, epochs in (("cpu", 10), ("gpu", 100)):
        first = {each.name: each.train for each in trials_at("leaderboard", scale) if not each.train["seed"]}
        arms = [train for train in first.values() if train["epochs"] != epochs]
        assert {train["method"] for train in arms} == set(steps)
        for train in arms:
            assert train["epochs"] * steps[train["method"]] == pytest.approx(7 * epochs, abs=4)
        assert {train["eps"] for train in first.values()} == {8, 16}
    public = [each.train for each in trials_at("leaderboard", "gpu")]
    assert {train["model"] for train in public} == {"resnet18", "preactresnet18"}
    assert {train["dataset"] for train in public} == {"cifar10", "cifar100", "tiny-imagenet"}
    smoothed = {train["method"] for train in public if "label_smoothing" in train}
    assert smoothed == {"pgd-2", "pgd-at", "fast-at", "fast-bat", "n-fgsm", "fast-at-ga", "sora", "elle-a"}


ONE = """
title = "One"
store = "../runs"
[train]
dataset = "digits"
width = 2
epochs = 1
train_limit = 300
select_limit = 20
select_steps = 1
method = "fast-at"
eps = 30
[evaluate]
attacks = "clean"
limit = 20
"""


def test_a_shared_training_is_trained_and_measured_once(in_process, tmp_path, capsys):
    other = ONE.replace("eps = 30", "eps = [30, 40]\nseed = 0").replace(
        'attacks = "clean"', 'attacks = "clean"\neps = 30'
    )
    for name, text in {"one": ONE, "other": other}.items():
        (tmp_path / f"{name}.toml").write_text(text)
        main(["suite", "run", str(tmp_path / f"{name}.toml"), "--out", str(tmp_path / "out" / name)])
    runs = sorted(each for each in (tmp_path / "out" / "runs").iterdir() if each.is_dir())
    assert len(runs) == 2
    logs = {each.name: each.with_name(f"{each.name}.log").read_text() for each in runs}
    assert sum(text.count("$ fastbat train") for text in logs.values()) == 2  # the second suite starts none again
    assert sum(text.count("$ fastbat evaluate") for text in logs.values()) == 2
    assert {row["suite"] for row in table(tmp_path / "out")} == {"one", "other"}
    capsys.readouterr()
    main(["suite", "status", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert [name in said for name in ("one/fast-at", "other/fast-at-eps30", "other/fast-at-eps40")] == [True] * 3


@pytest.mark.parametrize(
    ("dataset", "stands_for", "classes", "text"),
    [
        ("digits", ["cifar10", "imagenet with resnet50"], 10, "digits for CIFAR-10, ImageNet with resnet50"),
        ("tiny-imagenet", [], 20, "20 of the 200 classes of Tiny-ImageNet"),
        ("tiny-imagenet", ["imagenet"], 20, "Tiny-ImageNet for ImageNet; 20 of the 200 classes of Tiny-ImageNet"),
        ("tiny-imagenet", [], 200, ""),
        ("tiny-imagenet", [], None, ""),
        ("cifar10", [], 10, ""),
        ("owner/name", [], 3, ""),
    ],
)
def test_a_stand_in_is_named_in_words(dataset, stands_for, classes, text):
    assert stand_in(dataset, stands_for, classes, shown) == text


def test_a_stand_in_is_named_in_the_table_the_export_and_the_report(in_process, tmp_path, capsys):
    text = ONE.replace("eps = 30", "eps = [30, 40]")
    (tmp_path / "one.toml").write_text(text.replace('title = "One"', 'title = "One"\nstands_for.digits = ["cifar10"]'))
    out = tmp_path / "out" / "one"
    main(["suite", "run", str(tmp_path / "one.toml"), "--out", str(out)])
    said = capsys.readouterr().out
    assert "stand-in" in said
    assert "digits for cifar10" in said
    assert {row["stand_in"] for row in table(out)} == {"digits for CIFAR-10"}
    page = write_report([out], tmp_path / "page.html").read_text()
    assert "Stand-in images: digits for CIFAR-10." in page
    assert page.count("stand-in images (digits for CIFAR-10), ") == 2  # a group for each budget
    assert '<th scope="row">stand-in</th><td>digits for CIFAR-10</td>' in page
    (tmp_path / "one.toml").write_text(text)
    main(["suite", "run", str(tmp_path / "one.toml"), "--out", str(tmp_path / "out" / "own")])  # digits as themselves
    said = capsys.readouterr().out
    assert "stand-in" not in said
    assert {row["stand_in"] for row in table(tmp_path / "out" / "own")} == {None}
    assert "tand-in" not in write_report([tmp_path / "out" / "own"], tmp_path / "page.html").read_text()


def folder_of_images(root, level):
    """Write a data set of two classes in PNG files, whose names and sizes are the same at every level of grey."""
    for split, count in (("train", 20), ("test", 5)):
        for label, name in enumerate(("dark", "light")):
            (folder := root / split / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = generator(level, split, label, i).integers(40 * label, 80 + level + 40 * label, (16, 16, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.bmp")
    return root


def test_another_data_set_of_the_same_name_is_not_taken_for_it(in_process, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path / "cache"))
    data = folder_of_images(tmp_path / "data", 0)
    shared, own = tmp_path / "one.toml", tmp_path / "own.toml"
    shared.write_text(ONE.replace('"digits"', '"folder"\nmodel = "cnn"'))
    own.write_text(ONE.replace('"digits"', '"folder"\nmodel = "cnn"').replace('store = "../runs"\n', ""))
    out = tmp_path / "out"

    def run(table, data, folder):
        with suppress(SystemExit):
            main(["suite", "run", str(table), "--out", str(folder), "--data-dir", str(data)])
        return read_records(folder / "results.jsonl")

    def trained():
        return sum(each.read_text().count("$ fastbat train") for each in (out / "runs").glob("*.log"))

    first = run(shared, data, out / "a")[-1]["results"][0]
    kept = run(own, data, tmp_path / "own")
    moved = shutil.copytree(data, tmp_path / "moved")
    assert run(shared, moved, out / "b")[-1]["results"][0] == first
    assert trained() == 1
    folder_of_images(data, 100)
    second = run(shared, data, out / "c")[-1]["results"][0]
    assert trained() == 2
    assert second["settings"]["fingerprint"] != first["settings"]["fingerprint"]
    assert run(shared, data, out / "a")[-1]["results"][0] == second  # that suite was finished, with other images
    assert trained() == 2
    refused = run(own, data, tmp_path / "own")
    assert refused[: len(kept)] == kept
    assert [each["status"] for each in refused[len(kept) :]] == ["failed"]
    assert "was begun with other content of folder; remove it, or name another --out" in refused[-1]["error"]
    capsys.readouterr()
    main(["suite", "status", str(out), "--json"])  # which is told no folder of data
    assert {row["state"] for row in json.loads(capsys.readouterr().out)["trials"]} == {"finished"}
    run(own, tmp_path / "nowhere", tmp_path / "own")
    assert read_records(tmp_path / "own" / "results.jsonl") == refused


def test_other_weights_of_the_same_name_to_start_from_make_another_training(tmp_path):
    train = {"dataset": "digits", "method": "fast-at", "init_from": str(tmp_path / "w.safetensors")}
    found = []
    for content in (b"one", b"two"):
        (tmp_path / "w.safetensors").write_bytes(content)
        trials = trials_of({"train": train}, "a table")
        inputs = inputs_of(trials, None)
        assert list(inputs) == ["digits", train["init_from"]]
        found.append(trials_of({"train": train, "store": "runs"}, "a table", inputs)[0].run)
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run table2 --out {0}", "table2 is a suite by name; choose its --scale: paper, cpu, smoke"),
        ("run table22 --out {0} --scale cpu", "unknown suite 'table22'; did you mean 'table2'?"),
        ("run table2 --out {0} --scale gpu", "unknown scale 'gpu'"),
        ("run leaderboard --out {0}", "leaderboard is a suite by name; choose its --scale: gpu, cpu, smoke"),
        ("run table2 --out {0} --scale cpu", "holds 'Table 2 (smoke scale)'; name another --out for 'Table 2"),
        ("show figure9 --scale cpu", "unknown suite 'figure9'"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_nothing_is_written(words, message, tmp_path, capsys):
    (tmp_path / "table2").mkdir()
    (tmp_path / "table2" / "suite.toml").write_text('title = "Table 2 (smoke scale)"\n')
    with pytest.raises(SystemExit) as stop:
        main(["suite", *words.format(tmp_path).split()])
    said = capsys.readouterr().err
    assert (stop.value.code, said.count("\n")) == (2, 1)
    assert message in said
    assert [str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")] == ["table2", "table2/suite.toml"]


def test_a_suite_is_listed_and_shown_as_a_table_that_can_be_run(tmp_path, capsys):
    main(["suite", "list", "--json"])
    listed = {each["suite"]: each for each in json.loads(capsys.readouterr().out)["suites"]}
    assert (listed["table2"]["paper"], listed["table2"]["cpu"]) == (100, 30)
    main(["suite", "show", "table9", "--scale", "cpu"])
    (tmp_path / "mine.toml").write_text(capsys.readouterr().out)
    assert read_trials(tmp_path / "mine.toml") == trials_at("table9", "cpu")
