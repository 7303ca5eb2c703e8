"""Verdicts on the paper's claims: on the paper's own numbers, and on records whose truth is known."""

import json
import math

import numpy as np
import pytest

from fastbat.cli import main
from fastbat.evaluation.interval import mean_over_seeds, paired_over_seeds
from fastbat.paper import cells, claims_of_the_paper
from fastbat.results import claims
from fastbat.results.claims import aimed
from report_records import accuracy, epoch, evaluation, gradients_suite, mask, suite, trial

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


def test_every_claim_has_a_comparison_or_says_why_no_experiment_decides_it():
    for claim in claims_of_the_paper():
        assert bool(claim.get("test")) != bool(claim.get("not_testable")), claim["id"]
    reasons = [claim["id"] for claim in claims_of_the_paper() if claim.get("not_testable")]
    assert reasons == ["fast-at-heuristics", "as-in-the-original-papers"]


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


def test_accuracies_of_one_seed_decide_nothing_for_another_training_may_come_out_otherwise(tmp_path):
    for seeds, verdict in ((1, "cannot be decided"), (2, "held")):
        claim = found(measured(tmp_path / str(seeds), {"fast-at-ga": 500, "fast-at": 200}, seeds))["ga-beats-fast-at"]
        assert [each["verdict"] for each in claim["comparisons"]] == [verdict]


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
    assert {each["verdict"] for each in claims(folder)} == {"not run", "not testable"}


@pytest.mark.parametrize("guard", ['"on_collapse": "rollback"', '"on_alarm": "escalate"'])
def test_a_training_that_a_guard_changes_is_not_the_papers(guard, tmp_path):
    folder = measured(tmp_path, {"fast-at": 200, "fast-at-ga": 400})
    text = (folder / "results.jsonl").read_text()
    assert any(each["made"] for each in claims(folder))
    (folder / "results.jsonl").write_text(text.replace('"shortcut": "raw"', f'"shortcut": "raw", {guard}'))
    assert not any(each["made"] for each in claims(folder))


def by_alignment(folder, *runs):
    """A suite of FAST-AT, a seed a run: each GA by epoch, and whether the epoch had collapsed."""
    trials = [
        trial("fast-at", seed, [epoch(i, ra=0 if fallen else 20, ga=ga, collapsed=fallen)
                                for i, (ga, fallen) in enumerate(path, 1)],
              [evaluation([accuracy("pgd", 16)])], eps=16, shortcut="raw", ga_images=1000)
        for seed, path in enumerate(runs)
    ]  # fmt: skip
    return found(suite(folder, trials))


DROP = [(0.9, False), (0.95, False), (0.2, True), (0.3, True)]
SOUND = [(0.9, False), (0.8, False), (0.7, False), (0.6, False)]


def test_alignment_falls_with_every_collapse_or_the_claim_did_not_hold(tmp_path):
    claim = by_alignment(tmp_path / "a", DROP, SOUND, [(0.8, False), (0.6, False), (0.1, True), (0.1, True)])
    mean, least = claim["ga-drop-with-overfitting"]["comparisons"]
    assert claim["ga-drop-with-overfitting"]["verdict"] == "held"
    assert (mean["measured"], mean["seeds"]) == (pytest.approx((-0.75 - 0.7) / 2), 2)  # two of three collapsed
    assert (least["measured"], least["low"], least["high"]) == (pytest.approx(-0.7),) * 3
    exception = [(0.8, False), (0.8, False), (0.78, True), (0.7, True)]
    claim = by_alignment(tmp_path / "b", DROP, DROP, exception)["ga-drop-with-overfitting"]
    assert (claim["verdict"], claim["comparisons"][1]["measured"]) == ("did not hold", pytest.approx(-0.02))
    one = by_alignment(tmp_path / "c", DROP, SOUND)["ga-drop-with-overfitting"]
    assert (one["verdict"], one["comparisons"][0]["measured"]) == ("cannot be decided", None)
    assert by_alignment(tmp_path / "d", SOUND)["ga-drop-with-overfitting"]["verdict"] == "not run"


def test_high_alignment_is_necessary_unless_a_sound_training_lacks_it_and_an_example_shows_that_it_is_not_enough(
    tmp_path,
):
    high = [(0.9, False), (0.9, False), (0.8, True), (0.2, True)]
    claim = by_alignment(tmp_path / "a", SOUND, SOUND, high)["ga-necessary-only"]
    assert (claim["verdict"], [each["measured"] for each in claim["comparisons"]]) == ("held", [0.6, 0.8])
    none = by_alignment(tmp_path / "b", SOUND, SOUND, DROP)["ga-necessary-only"]
    assert [each["verdict"] for each in none["comparisons"]] == ["held", "cannot be decided"]
    alone = by_alignment(tmp_path / "d", SOUND)["ga-necessary-only"]
    assert [each["verdict"] for each in alone["comparisons"]] == ["cannot be decided"]
    low = by_alignment(tmp_path / "c", [(0.4, False)] * 4, high)["ga-necessary-only"]
    assert [each["verdict"] for each in low["comparisons"]] == ["did not hold", "held"]
    assert low["verdict"] == "did not hold"


def hessian_aware(folder, **epochs):
    """A suite of Hessian-aware FAST-BAT at eps 8, three seeds, with what its epochs recorded."""
    trials = [
        trial(
            "fast-bat", seed, [epoch(1, **epochs), epoch(2, **epochs)], eps=8, shortcut="raw", ig_mode="hessian-aware"
        )
        for seed in range(3)
    ]
    return found(suite(folder, trials))["hessian-near-zero"]


def test_a_hessian_is_close_to_zero_where_it_moves_the_answer_little_and_nothing_falls_back(tmp_path):
    claim = hessian_aware(tmp_path / "a", hessian=0.02, fallbacks=0.0)
    assert [each["verdict"] for each in claim["comparisons"]] == ["held", "held"]
    assert (claim["comparisons"][0]["measured"], claim["comparisons"][0]["seeds"]) == (pytest.approx(0.02), 3)
    claim = hessian_aware(tmp_path / "b", hessian=1.5, fallbacks=0.9)
    assert [each["verdict"] for each in claim["comparisons"]] == ["did not hold", "did not hold"]
    older = hessian_aware(tmp_path / "c", fallbacks=0.9)
    assert (older["made"], older["verdict"]) == (1, "did not hold")


def looked_at(folder, ranges, fingerprint="same", seeds=2):
    """A suite of figure 3 with closer looks at best and last weights; loss_range of each image is given by method."""
    results = [evaluation([accuracy("pgd", 16)], weights, weights=weights) for weights in ("best", "last")]
    trials = [
        trial(method, seed, results=results, eps=16, shortcut="raw") for method in ranges for seed in range(seeds)
    ]
    suite(folder, trials)
    for each in trials:
        method = each["train"]["method"]
        for weights in ("best", "last"):
            place = folder / each["trial"] / f"look-{weights}"
            place.mkdir(parents=True)
            about = {"target": f"{weights}.safetensors", "epoch": 1, "fingerprint": fingerprint or method}
            values = np.array(ranges[method])
            (place / "diagnosis.json").write_text(json.dumps({"n": len(values), "eps_255": 16.0, "settings": about}))
            np.savez(place / "flatness.npz", loss_range=values, loss_bend=values / 2)
    return found(folder)["flatter-landscape"]


def test_a_landscape_is_flatter_beyond_the_draw_of_the_images_and_on_the_same_images_alone(tmp_path):
    noise = np.random.default_rng(0).random(200)
    ranges = {"fast-at": 2 + noise, "fast-at-ga": 1 + noise, "fast-bat": 1.5 + noise + 0.1 * noise[::-1]}
    claim = looked_at(tmp_path / "a", ranges)
    assert (claim["verdict"], claim["made"], claim["of"]) == ("held", 8, 8)
    first = claim["comparisons"][0]
    gains = ranges["fast-bat"] - ranges["fast-at"]  # of each seed
    half = 1.959963984540054 * gains.std() / np.sqrt(200)
    assert (first["measured"], first["low"], first["high"]) == pytest.approx(
        (gains.mean(), gains.mean() - half, gains.mean() + half)
    )
    assert (first["seeds"], first["images"]) == (2, 200)
    assert looked_at(tmp_path / "b", ranges | {"fast-bat": 3 + noise})["verdict"] == "did not hold"
    assert looked_at(tmp_path / "c", ranges, fingerprint=None)["verdict"] == "not run"  # of other images each
    assert looked_at(tmp_path / "d", {"fast-at": 2 + noise})["verdict"] == "not run"
    assert looked_at(tmp_path / "e", ranges, seeds=1)["verdict"] == "cannot be decided"


def test_a_decay_converges_where_its_slope_is_that_of_the_theorem_beyond_the_spread_over_seeds(tmp_path):
    claim = found(gradients_suite(tmp_path / "a", slope=-0.7))["converges"]
    (one,) = claim["comparisons"]
    assert (one["verdict"], one["seeds"], claim["verdict"]) == ("held", 3, "cannot be decided")  # of four comparisons
    values = [-0.7, -0.71, -0.72]
    assert (one["measured"], one["low"], one["high"]) == pytest.approx(mean_over_seeds(values))
    assert (claim["made"], claim["of"]) == (1, 4)
    slow = found(gradients_suite(tmp_path / "b", slope=-0.2))["converges"]
    assert slow["comparisons"][0]["verdict"] == "did not hold"


def test_alignment_that_was_not_measured_decides_nothing(tmp_path):
    folder = measured(tmp_path, {"fast-at": 200, "fast-bat": 400, "fast-at-ga": 300, "pgd-2": 300})
    assert found(folder)["ga-for-free"]["verdict"] == "not run"


def test_the_command_prints_verdicts(tmp_path, capsys):
    folder = measured(tmp_path, {"fast-at": 200, "fast-at-ga": 400})
    main(["suite", "claims", str(folder)])
    said = capsys.readouterr().out
    assert "cannot be decided" in said
    assert "of 57 claims have no comparison here" in said
    for claim in claims_of_the_paper():
        assert claim.get("not_testable", "") in said
    main(["suite", "claims", str(folder), "--json"])
    assert len(json.loads(capsys.readouterr().out)["claims"]) == 57
