"""Results as plain tables: the same numbers as a report's, in rows that pandas and its like load in one line."""

import csv
import json
import math

import pandas as pd
import pytest

from fastbat.cli import main
from fastbat.evaluation.interval import mean_over_seeds, over_seeds, paired_over_seeds, spread_ratio
from fastbat.results import differences, gradients, table
from report_records import accuracy, epoch, evaluation, gradients_suite, mask, suite, trial

GOOD, WORSE = [1] * 60 + [0] * 40, [1] * 45 + [0] * 55


def shifted(bits, by):
    """Another seed: it errs on other images."""
    return bits[by:] + bits[:by]


@pytest.fixture
def compared(tmp_path):
    """A suite of two arms and two seeds, attacked at the budget trained against and at another."""
    trials = []
    for seed in (0, 1):
        for method, bits in (("fast-at", WORSE), ("fast-bat", GOOD)):
            drawn = shifted(bits, 3 * seed)[: 100 - seed] + [0] * seed
            made = [accuracy("clean", 0, 80), accuracy("pgd", 8, sum(drawn), 100, mask(drawn)), accuracy("pgd", 4, 70)]
            trials.append(trial(method, seed, [epoch(1), epoch(2)], [evaluation(made)]))
    return suite(tmp_path / "compared", trials)


def test_a_row_is_a_model_an_attack_and_a_budget_over_all_seeds(compared):
    rows = table(compared)
    assert [(row["method"], row["attack"], row["eps_255"]) for row in rows] == [
        ("fast-bat", "clean", 0), ("fast-bat", "pgd", 8), ("fast-at", "clean", 0), ("fast-at", "pgd", 8),
        ("fast-at", "pgd", 4), ("fast-bat", "pgd", 4),
    ]  # fmt: skip
    row = rows[1]
    assert (row["seeds"], row["n"], row["weights"], row["trained_eps_255"]) == ([0, 1], 100, "best", 8)
    masks = [mask(GOOD), mask([*shifted(GOOD, 3)[:99], 0])]
    hits = [int(each, 16).bit_count() for each in masks]
    assert (row["percent"], row["low"], row["high"]) == over_seeds(hits, 100, masks)
    assert row["by_seed"] == hits
    assert row["std"] == pytest.approx(abs(hits[0] - hits[1]) / math.sqrt(2))
    assert rows[0]["times_fast_at"] == 1
    assert rows[0]["training_seconds"] == 20


def test_gradients_of_appendix_e_are_rows_over_the_seeds_with_the_slope_of_their_decay(tmp_path, capsys):
    folder = gradients_suite(tmp_path / "s", slope=-0.7)
    rows = {(row["what"], row["c"], row["batch"], row["steps"]): row for row in gradients(folder)}
    assert len(rows) == 2 * 2 * 5 + 2 * 2 + 2
    one = rows["variance", "0.1", 32, None]
    assert (one["mean"], one["low"], one["high"], one["seeds"], one["n"]) == (0.5, 0.5, 0.5, [0, 1, 2], 64)
    assert (one["method"], one["dataset"], one["weights"]) == ("fast-bat", "digits", "best")
    for batch in (32, 64):
        found = rows["slope", "a", batch, None]
        assert found["by_seed"] == pytest.approx([-0.7, -0.71, -0.72])
        assert (found["mean"], found["low"], found["high"]) == mean_over_seeds(found["by_seed"])
    assert rows["mean_square", "a", 32, 100]["by_seed"][0] == pytest.approx(3 * 100**-0.7)
    main(["suite", "export", str(folder), "--of", "gradients", "-o", str(tmp_path / "g.csv")])
    assert f"wrote {len(rows)} rows" in capsys.readouterr().err
    with (tmp_path / "g.csv").open() as file:
        assert {row["what"] for row in csv.DictReader(file)} == {what for what, *_ in rows}


def test_a_decay_that_was_not_finite_has_no_slope(tmp_path):
    folder = gradients_suite(tmp_path / "s")
    for file in folder.glob("*/look/diagnosis.json"):
        about = json.loads(file.read_text())
        about["decay"][0]["mean_square"] = None
        file.write_text(json.dumps(about))
    assert [row["batch"] for row in gradients(folder) if row["what"] == "slope"] == [64]


def test_a_suite_without_closer_looks_has_no_gradients(compared):
    assert gradients(compared) == []


def test_a_difference_is_paired_over_images_and_seeds(compared):
    every = differences(compared)
    assert [(row["label"], row["eps_255"]) for row in every] == [("SA", 0), ("RA-PGD-50-10", 8), ("RA-PGD-50-10", 4)]
    rows = {row["label"]: row for row in every[:2]}
    found = rows["RA-PGD-50-10"]
    mine, theirs = ([mask(bits), mask([*shifted(bits, 3)[:99], 0])] for bits in (GOOD, WORSE))
    assert (found["one"], found["other"], found["seeds"]) == ("FAST-BAT", "FAST-AT", [0, 1])
    assert (found["difference"], found["low"], found["high"]) == paired_over_seeds(mine, theirs, 100)
    assert found["test"] == "paired on the same images, seed by seed"
    assert rows["SA"]["difference"] == 0
    assert rows["SA"]["std_ratio"] is None  # no spread


def test_without_masks_a_difference_says_that_it_is_not_paired(tmp_path):
    trials = [trial(method, 0, results=[evaluation([accuracy("pgd", 8, hits, 100)])]) for method, hits in
              (("fast-at", 40), ("fast-bat", 60))]  # fmt: skip
    for each in trials:
        del each["results"][0]["accuracies"][0]["mask"]
    (row,) = differences(suite(tmp_path, trials))
    assert (row["difference"], row["test"]) == (20, "not paired: the ends of two intervals")
    assert row["low"] < 20 < row["high"]


def test_the_ratio_of_two_spreads_has_the_f_interval():
    for seeds, factor in ((3, 6.245), (10, 2.0065)):  # the roots of F's 97.5 % points 39 and 4.026
        one, other = [2.0 * k for k in range(seeds)], [1.0 * k for k in range(seeds)]
        ratio, low, high = spread_ratio(one, other)
        assert (ratio, low, high) == pytest.approx((2, 2 / factor, 2 * factor), rel=1e-3)
    assert spread_ratio([1.0, 2.0], [1.0]) == spread_ratio([1.0, 2.0], [3.0, 3.0]) == (None, None, None)


def test_files_hold_the_rows(compared, tmp_path, capsys):
    main(["suite", "export", str(compared), "-o", str(tmp_path / "all.csv")])
    assert "wrote 6 rows to " in capsys.readouterr().err
    rows = table(compared)
    kept = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    assert [float(row["percent"]) for row in kept] == [row["percent"] for row in rows]
    assert kept[0]["seeds"] == "0 1"
    assert list(pd.read_csv(tmp_path / "all.csv")["label"]) == [row["label"] for row in rows]
    main(["suite", "export", str(compared), "--out", str(tmp_path / "all.parquet")])
    frame = pd.read_parquet(tmp_path / "all.parquet")
    assert [list(each) for each in frame["by_seed"]] == [row["by_seed"] for row in rows]
    assert frame.to_dict("records")[1]["high"] == rows[1]["high"]
    main(["suite", "compare", str(compared), "-o", str(tmp_path / "pairs.csv")])
    assert list(pd.read_csv(tmp_path / "pairs.csv")["difference"]) == [
        row["difference"] for row in differences(compared)
    ]


def test_a_name_is_no_formula(tmp_path):
    trials = [trial("fast-at", 0, step="=1+1"), trial("fast-at", 0, step="=2+2")]
    main(["suite", "export", str(suite(tmp_path / "s", trials)), "-o", str(tmp_path / "a.csv")])
    (tmp_path / "s" / "suite.toml").write_text('title = "=cmd()"\n[train]\nmethod = "fast-at"\n')
    main(["suite", "export", str(tmp_path / "s"), "-o", str(tmp_path / "a.csv")])
    for row in csv.reader((tmp_path / "a.csv").read_text().splitlines()):
        assert not any(value.startswith(("=", "+", "@")) for value in row)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "a.csv"], "no folder is named"),
        (["compared", "-o", "a.xlsx"], "'a.xlsx' must end in .csv or .parquet, which is what a table is"),
        (["nowhere", "-o", "a.csv"], "no folder 'nowhere'; name that of a suite, a run or an audit"),
    ],
)
@pytest.mark.parametrize("command", ["export", "compare"])
def test_bad_input_is_one_line_and_nothing_is_written(command, words, message, compared, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["suite", command, *words])
    said = capsys.readouterr().err
    assert (stop.value.code, said.count("\n")) == (2, 1)
    assert message in said
    assert [each.name for each in tmp_path.iterdir()] == ["compared"]
