"""Verdicts on the paper's claims: on the paper's own numbers, and on records whose truth is known."""

import json
import math

import numpy as np
import pytest

from fastbat.cli import main
from fastbat.evaluation.interval import paired_over_seeds
from fastbat.paper import cells, claims_of_the_paper
from fastbat.results import claims
from fastbat.results.claims import aimed
from report_records import accuracy, evaluation, mask, suite, trial

USUAL = {"activation": "relu", "ig_mode": "hessian-free", "linearise": "pgd-nosign", "a_255": None}
KEYS = ("table", "metric", "method", "dataset", "model", "train_eps", "test_eps", "unit", *USUAL)
TESTS = [(claim["id"], test) for claim in claims_of_the_paper() for test in claim.get("test", ())]


def measured(folder, hits, seeds=3, n=1000, eps=16, attacks=("pgd",)):
    """A suite of the paper's arms, each with so many hits on average, its seeds on shuffled images."""
    generator, trials = np.random.default_rng(0), []
    for seed in range(seeds):
        order = generator.permutation(n)
        for method, count in hits.items():
            bits = np.zeros(n)
            bits[order[: count + seed]] = 1
            made = [accuracy(attack, eps, int(bits.sum()), n, mask(bits)) for attack in attacks]
            trials.append(trial(method, seed, results=[evaluation(made)], eps=eps, shortcut="raw"))
    return suite(folder, trials)


def found(folder):
    return {each["id"]: each for each in claims(folder)}


def test_there_are_57_claims_and_their_support_is_counted():
    support = [claim["supported"] for claim in claims_of_the_paper()]
    assert (len(support), support.count("yes"), support.count("partly"), support.count("no")) == (57, 24, 17, 1)


def test_the_rule_says_of_the_papers_own_numbers_what_the_paper_prints():
    printed = {}
    for cell in cells():
        about = {name: getattr(cell, name, None) for name in KEYS} | dict(cell.other)
        printed[json.dumps(about, sort_keys=True, default=float)] = cell
    decided = 0
    for name, test in [each for each in TESTS if "table" in each[1]]:
        sides = []
        for side in "abcd":
            if side in test:
                wanted = {**USUAL, **test, **test[side]}
                about = {key: wanted.get(key) for key in KEYS}
                about["unit"] = wanted.get("unit", "%")
                about |= {key: wanted[key] for key in ("surrogate", "alpha2") if key in wanted}
                if about["metric"] == "time":
                    about["train_eps"] = about["test_eps"] = None
                cell = printed[json.dumps(about, sort_keys=True, default=float)]
                sides.append(cell.std if test.get("stat") == "std" else cell.mean)
        value = {
            "a": lambda a: a, "a - b": lambda a, b: a - b, "a / b": lambda a, b: a / b,
            "(a - b) - (c - d)": lambda a, b, c, d: (a - b) - (c - d),
        }[test["relation"]](*sides)  # fmt: skip
        assert value == pytest.approx(test["paper"], abs=6e-3), name
        assert (aimed(test, (value, value, value))[0] > -1e-9) is test["holds"] or math.isclose(value, test["than"]), (
            name
        )
        decided += 1
    assert decided > 400


def test_a_comparison_is_paired_and_holds_beyond_doubt_alone(tmp_path):
    folder = measured(tmp_path, {"fast-at": 200, "fast-at-ga": 400})
    claim = found(folder)["ga-beats-fast-at"]
    (one,) = claim["comparisons"]
    assert (claim["verdict"], claim["held"], claim["made"], claim["of"]) == ("cannot be decided", 1, 1, 6)
    assert one["verdict"] == "held"
    kept = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    masks = {method: [each["results"][0]["accuracies"][0]["mask"] for each in kept if each["train"]["method"] == method]
             for method in ("fast-at-ga", "fast-at")}  # fmt: skip
    assert (one["measured"], one["low"], one["high"]) == paired_over_seeds(*masks.values(), 1000)
    assert (one["paper"], one["seeds"], one["images"]) == (4.18, 3, 1000)


def test_the_other_way_round_it_did_not_hold_and_between_it_cannot_be_decided(tmp_path):
    reverse = found(measured(tmp_path / "a", {"fast-at": 400, "fast-at-ga": 200}))["ga-beats-fast-at"]
    assert (reverse["verdict"], reverse["comparisons"][0]["verdict"]) == ("did not hold", "did not hold")
    equal = found(measured(tmp_path / "b", {"fast-at": 300, "fast-at-ga": 301}, seeds=2))["ga-beats-fast-at"]
    assert (equal["verdict"], equal["comparisons"][0]["verdict"]) == ("cannot be decided", "cannot be decided")


def test_a_claim_whose_every_comparison_held_held(tmp_path):
    claim = found(measured(tmp_path, {"atta": 0, "fast-bat": 500}, attacks=("pgd", "aa")))["atta-collapses"]
    assert (claim["made"], claim["of"], claim["verdict"]) == (2, 2, "held")


def test_spread_over_seeds_needs_seeds(tmp_path):
    claim = found(measured(tmp_path, {"fast-at": 300, "fast-bat": 400}, seeds=1))["fast-at-unstable"]
    assert {each["verdict"] for each in claim["comparisons"]} == {"cannot be decided"}
    assert claim["comparisons"][0]["measured"] is None


def test_what_is_not_the_papers_is_not_compared(tmp_path):
    folder = measured(tmp_path, {"fast-at": 200, "fast-at-ga": 400})
    text = (folder / "results.jsonl").read_text().replace('"shortcut": "raw"', '"shortcut": "preact"')
    (folder / "results.jsonl").write_text(text)
    assert {each["verdict"] for each in claims(folder)} == {"not run"}


def test_the_command_prints_verdicts(tmp_path, capsys):
    folder = measured(tmp_path, {"fast-at": 200, "fast-at-ga": 400})
    main(["suite", "claims", str(folder)])
    said = capsys.readouterr().out
    assert "cannot be decided" in said
    assert "of 57 claims have no comparison here" in said
    main(["suite", "claims", str(folder), "--json"])
    assert len(json.loads(capsys.readouterr().out)["claims"]) == 57
