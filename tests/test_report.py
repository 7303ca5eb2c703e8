"""Reports: what is read and refused, rows and groups, intervals over seeds, the page, its safety, its sources."""

import hashlib
import json
import re
import shutil
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fastbat import METHODS, Settings, cli, train
from fastbat.audit import evaluate_target
from fastbat.cli import main
from fastbat.errors import InputError
from fastbat.evaluation.interval import over_seeds, paired, paired_over_seeds, wilson
from fastbat.files import read_records
from fastbat.paper import cells, printed
from fastbat.provenance import command_line, commit
from fastbat.report import write_report
from fastbat.report.audit import accuracies, only_row
from fastbat.report.cards import Cards
from fastbat.report.colour import ramp
from fastbat.report.findings import findings, robustness
from fastbat.report.landscape import surfaces
from fastbat.report.plane import front, measured
from fastbat.report.svg import coordinate, ticks, top_with
from fastbat.results.cost import UNTIMED
from fastbat.results.place import places
from fastbat.results.read import read
from fastbat.results.rows import groups_of
from fastbat.results.state import collapsed, fell
from fastbat.training.settings import describe, effective
from report_records import (
    accuracy,
    comparison,
    epoch,
    evaluation,
    gradients_suite,
    hostile,
    look,
    mask,
    run_with_everything,
    suite,
    trial,
)

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
SUITES = ["shortcut", "methods/he-shortcut", "collapse/he-shortcut", "implicit-term/eps16", "implicit-term/eps8"]
TABLE_2 = {"method": "fast-bat", "dataset": "cifar10", "model": "preactresnet18", "shortcut": "raw", "eps": 8}


# Intervals over seeds


def test_the_mean_of_one_seed_has_wilsons_interval():
    low, high = wilson(31, 100)
    assert over_seeds([31], 100) == pytest.approx((31.0, 100 * low, 100 * high))
    assert over_seeds([31], 100, [mask([1] * 31 + [0] * 69)]) == pytest.approx((31.0, 100 * low, 100 * high))


def test_seeds_that_err_on_the_same_images_are_as_sure_as_one_of_them():
    one = mask([1] * 31 + [0] * 69)
    assert over_seeds([31] * 3, 100, [one] * 3) == pytest.approx(over_seeds([31], 100))
    others = [mask(([0] * 23 * k + [1] * 31 + [0] * 69)[:100]) for k in range(3)]
    assert np.diff(over_seeds([31] * 3, 100, others)[1:]) < np.diff(over_seeds([31], 100)[1:])
    assert over_seeds([0, 0, 0], 100)[2] == pytest.approx(100 * wilson(0, 100)[1])  # nothing seen is not nothing there


def drawn(generator, chances, effects):
    """Masks (seeds, images): each image has a chance of its own, each seed an effect on all."""
    return generator.random((len(effects), len(chances))) < np.clip(chances + effects[:, None], 0, 1)


def test_intervals_over_seeds_hold_the_truth_and_do_not_overdo_it():
    generator, held, paired_held = np.random.default_rng(0), 0, 0
    for _ in range(300):
        chances = generator.beta(1, 2, 250)
        one, other = (drawn(generator, chances, generator.normal(0, 0.02, 3)) for _ in range(2))
        _, low, high = over_seeds(one.sum(1).tolist(), 250, [mask(row) for row in one])
        held += low <= 100 / 3 <= high
        _, low, high = paired_over_seeds([mask(row) for row in one], [mask(row) for row in other], 250)
        paired_held += low <= 0 <= high
    assert held >= 0.94 * 300
    assert paired_held >= 0.94 * 300


def test_a_paired_difference_of_one_seed_is_that_of_two_models_and_many_tests_widen_it():
    one, other = mask([1, 1, 1, 0, 1, 0, 1, 1] * 5), mask([1, 0, 1, 0, 0, 1, 1, 1] * 5)
    assert paired_over_seeds([one], [other], 40) == paired(one, other, 40)
    gain, low, high = paired_over_seeds([one], [other], 40, tests=10)
    assert gain == pytest.approx(12.5)
    assert low < paired(one, other, 40)[1] < paired(one, other, 40)[2] < high
    assert (high - low) / np.diff(paired(one, other, 40)[1:])[0] == pytest.approx(2.807 / 1.96, abs=1e-3)
    with pytest.raises(InputError, match="a mask of 10 digits is not of 100 images"):
        paired_over_seeds([one] * 2, [other] * 2, 100)


# The paper's numbers


def test_the_paper_has_292_cells_and_those_of_table_2_are_found():
    assert len(cells()) == 292
    assert [cell.mean for cell in printed(TABLE_2, "pgd", 8) if cell.table == 2] == [48.83]
    assert {cell.mean for cell in printed(TABLE_2, "clean", 8)} == {79.97}
    assert {cell.mean for cell in printed(TABLE_2 | {"eps": 16}, "aa", 16)} == {18.79}


@pytest.mark.parametrize(
    ("settings", "table"),
    [
        ({"method": "fast-at", "step_ratio": 1.0}, None),
        ({"ig_mode": "none"}, None),
        ({"ig_weight": 1.0}, None),
        ({"ig_every": 8}, None),
        ({"shortcut": "preact"}, None),
        ({"shortcut": None}, None),  # as in records before it was a setting, when the network was He's
        ({"model": "preactresnet50"}, 3),  # which has no such setting
        ({"eps": 16, "protocol": "released"}, 1),  # lambda 255/2000, which the tables may have used
        ({"eps": 16, "protocol": "released", "lam": 0.51}, 7),
        ({"eps": 16, "protocol": "released", "lam": 0.3}, None),
        ({"eps": 16, "lam": 0.1275}, 8),  # alpha2 = 0.1 lambda alpha1
        ({"eps": 16, "lam": 0.102, "ig_weight": 0.2451}, 8),  # the same alpha2 as of lambda 0.255
        ({"method": "trades"}, None),
        ({"method": "mine"}, None),
        ({"dataset": "digits"}, None),
        ({"eps": 16, "lam": 0.255}, 7),
        ({"eps": 16, "ig_mode": "hessian-aware"}, 5),
        ({"eps": 16, "linearise": "corner"}, 9),
        ({"activation": "swish"}, 11),
        ({"eps": 16, "lam": 0.102, "width": 16, "train_limit": 25000, "precision": "bf16"}, 1),
        ({"ig_weight": 0.1, "ig_every": 1, "mixed_at": "z", "attack_objective": "ce"}, 1),
    ],
)
def test_a_training_is_read_beside_the_table_of_its_arm(settings, table):
    arm = TABLE_2 | settings
    found = {cell.table for cell in printed(arm, "pgd", arm["eps"])}
    assert min(found, default=None) == table


def test_a_training_by_default_is_the_papers_arm_by_what_follows_from_its_settings():
    settings = Settings(dataset="cifar10", width=16, epochs=2)
    resolved = effective(describe(METHODS["fast-bat"](eps=16 / 255), settings))
    assert {cell.mean for cell in printed(resolved, "pgd", 16)} == {27.69}
    assert printed(resolved, "square", 16) == []


# What is read


def test_every_kind_of_folder_is_read_and_a_folder_of_folders(tmp_path):
    suite(tmp_path / "suite", [trial("fast-at", 0), trial("fast-at", 1)])
    run_with_everything(tmp_path / "run")
    (tmp_path / "audit").mkdir()
    records = [evaluation(best=None, target="a.pt", weights="a"), evaluation(best=None, target="b.pt", weights="b")]
    (tmp_path / "audit" / "evaluation.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    found = read([tmp_path])
    assert [source.kind for source in found.sources] == ["audit", "run", "suite"]
    assert [each.name for each in found.trials] == ["a.pt", "b.pt", "run", "fast-at-seed0", "fast-at-seed1"]
    assert [look.trial.name for look in found.looks] == ["run"]
    assert found.looks[0].losses.shape == (9, 9)
    name, digest = found.sources[0].files[0]
    assert name == "audit/evaluation.jsonl"
    assert digest == hashlib.sha256((tmp_path / "audit" / "evaluation.jsonl").read_bytes()).hexdigest()


def test_what_failed_or_is_not_finished_is_told(tmp_path):
    failed = {"trial": "fast-at-seed1", "train": {}, "evaluate": [], "status": "failed", "error": "<b>no space</b>"}
    suite(
        tmp_path, [trial("fast-at", 0), failed], '[train]\nmethod = "fast-at"\nseed = [0, 1, 2]\ndataset = "digits"\n'
    )
    (source,) = read([tmp_path]).sources
    assert (source.failed, source.unfinished) == ((("fast-at-seed1", "<b>no space</b>"),), ("fast-at-seed2",))
    page = write_report([tmp_path], tmp_path / "page.html").read_text()
    assert "One trial failed. One trial of the suite not finished yet." in page
    assert "fast-at-seed1 failed: &lt;b&gt;no space&lt;/b&gt;" in page


def test_a_record_leads_to_its_suites_folder_and_store_alone(tmp_path):
    """A suite may come from others, who name a folder of yours in it."""
    table = '[train]\nmethod = "fast-at"\nseed = [0, 1, 2, 3, 4]\ndataset = "digits"\n'
    named = ["inside", "../runs/stored", "../elsewhere", str(tmp_path / "elsewhere"), ".."]
    for name in ("suite/inside", "runs/stored", "elsewhere"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        look(tmp_path / name)
    trials = [{**trial("fast-at", seed), "run": name} for seed, name in enumerate(named)]
    found = read([suite(tmp_path / "suite", trials, f'store = "../runs"\n{table}')])
    assert [look.trial.name for look in found.looks] == ["fast-at-seed0", "fast-at-seed1"]
    assert [each.folder for each in found.trials[2:]] == [None] * 3


BAD = {
    "no folder": ("gone", "no folder 'gone'; name that of a suite, a run or an audit"),
    "nothing in it": ("empty", "no records in 'empty'; name a folder with results.jsonl, metrics.jsonl"),
    "another file": ("results.jsonl", "no folder 'results.jsonl'"),
    "records of another program": ("foreign", "'foreign' holds records of another form (KeyError: 'trial')"),
    "a list for a diagnosis": ("list", "diagnosis.json' holds a list; it must be an object"),
    "no JSON": ("torn", "diagnosis.json' is not JSON: "),
    "a torn array": ("array", "landscape.npz' is not a whole .npz file; run `fastbat diagnose` again"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = {
        "results.jsonl": "", "foreign/results.jsonl": '{"name": "x"}\n', "list/diagnosis.json": "[]",
        "torn/diagnosis.json": "{", "array/diagnosis.json": "{}", "array/landscape.npz": "PK",
    }  # fmt: skip
    Path("empty").mkdir()
    for name, text in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    folder, message = BAD[case]
    with pytest.raises(SystemExit) as stop:
        main(["report", folder, "-o", "page.html"])
    said = capsys.readouterr().err
    assert (stop.value.code, said.count("\n")) == (2, 1)
    assert message in said
    assert not Path("page.html").exists()


def test_what_is_no_number_is_left_out_of_the_drawings(tmp_path):
    folder = run_with_everything(tmp_path / "run")
    epochs = read_records(folder / "metrics.jsonl")
    epochs[2]["loss"] = float("nan")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in epochs))
    losses = np.full((9, 9), 1.0)
    losses[4, 4] = np.inf
    np.savez(folder / "look" / "landscape.npz", steps=np.linspace(-1, 1, 9), losses=losses)
    page = write_report([folder], tmp_path / "page.html").read_text()
    assert not re.search(r"nan|NaN|Infinity", "".join(re.findall('(?:points|data-rows)="([^"]*)"', page)))
    assert "Loss around an image" not in page


def test_a_landscape_names_its_weights_unless_they_are_the_best_epochs(tmp_path):
    folder = run_with_everything(tmp_path / "run")
    shutil.copytree(folder / "look", folder / "look-last")
    for name, target in (("look", "best.safetensors"), ("look-last", "last.safetensors")):
        file = folder / name / "diagnosis.json"
        about = json.loads(file.read_text())
        file.write_text(json.dumps({**about, "settings": {**about["settings"], "target": target, "epoch": 3}}))
    names = [each["name"] for each in surfaces(read([folder]).looks)]
    assert names == ["FAST-BAT", "FAST-BAT, last epoch"]


def test_lines_cut_short_by_a_crash_are_left_out(tmp_path):
    suite(tmp_path, [trial("fast-at", 0)])
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"trial": "fast-at-se')
    assert [each.name for each in read([tmp_path]).trials] == ["fast-at-seed0"]


# Rows and groups


def test_seeds_are_one_row_and_budgets_are_groups(tmp_path):
    trials = [
        trial(method, seed, eps=eps) for method in ("fast-at", "fast-bat") for seed in (0, 1, 2) for eps in (8, 16)
    ]
    groups = groups_of(read([suite(tmp_path, trials)]))
    assert [(group.eps_255, [len(row.trials) for row in group.rows]) for group in groups] == [(8, [3, 3]), (16, [3, 3])]
    assert [row.full_name for row in groups[0].rows] == ["FAST-AT", "FAST-BAT"]
    assert groups[0].rows[0].cells["pgd"].seeds == (0, 1, 2)


def test_arms_of_one_method_are_named_by_what_differs(tmp_path):
    arms = [
        trial("fast-bat", 0),
        trial("fast-bat", 0, ig_mode="none"),
        trial("free-at", 0, epochs=[epoch(1), epoch(2)]),
    ]
    arms += [trial("fast-at", 0, epochs=[epoch(1)])]
    arms[3]["train"]["ga_images"] = 500  # of the one trial of its method: nothing to tell it from
    arms += [trial("n-fgsm", 0, step_ratio=2.0), trial("trades", 0, beta=6.0)]  # 6 is the published one
    (group,) = groups_of(read([suite(tmp_path, arms)]))
    assert {row.full_name for row in group.rows} == {
        "FAST-BAT",
        "FAST-BAT (ig mode none)",
        "FREE-AT",
        "FAST-AT (epochs 1)",
        "N-FGSM (step ratio 2)",
        "TRADES",
    }


def test_an_accuracy_is_that_on_most_images_and_a_curve_makes_no_group(tmp_path):
    few = evaluation([accuracy("clean", 0, 9, 10), accuracy("aa", 8, 3, 10)])
    many = evaluation([accuracy("clean", 0, 80, 100), accuracy("pgd", 8, 50, 100)])
    curve = evaluation([accuracy("pgd", eps, 90 - 5 * eps, 100) for eps in (2, 4, 8)])
    found = read([suite(tmp_path, [trial("fast-at", 0, results=[few, many, curve])])])
    (group,) = groups_of(found)
    (row,) = group.rows
    assert {name: (cell.n, cell.percent) for name, cell in row.cells.items()} == {
        "clean": (100, 80), "pgd": (100, 50), "aa": (10, 30),
    }  # fmt: skip
    page = write_report([tmp_path], tmp_path / "page.html").read_text()
    assert "Attacked at several budgets" in page


def test_standard_training_joins_those_attacked_at_the_same_budget(tmp_path):
    trials = [trial("fast-at", 0), trial("standard", 0, eps=None)]
    (group,) = groups_of(read([suite(tmp_path, trials)]))
    assert {row.name for row in group.rows} == {"FAST-AT", "Standard"}


def test_a_second_run_with_the_same_seed_is_a_row_of_its_own(tmp_path):
    for name in ("one", "two"):
        run_with_everything(tmp_path / name)
    (group,) = groups_of(read([tmp_path]))
    assert [len(row.trials) for row in group.ranked] == [1, 1]


def test_places_by_hand(tmp_path):
    top, tied, low = [1] * 90 + [0] * 10, [0] + [1] * 90 + [0] * 9, [1] * 10 + [0] * 90
    rows = {"fast-at": top, "fast-bat": tied, "pgd-2": low}
    trials = [
        trial(method, 0, results=[evaluation([accuracy("pgd", 8, sum(bits), 100, mask(bits))])])
        for method, bits in rows.items()
    ]
    (group,) = groups_of(read([suite(tmp_path, trials)]))
    assert {row.name: row.place for row in group.rows} == {"FAST-AT": (1, 2), "FAST-BAT": (1, 2), "PGD-2": (3, 3)}
    assert places([], "pgd") == {}


def test_masks_tell_apart_what_overlapping_intervals_do_not(tmp_path):
    better, worse = [1] * 60 + [0] * 40, [1] * 50 + [0] * 50
    trials = [
        trial(method, 0, results=[evaluation([accuracy("pgd", 8, sum(bits), 100, mask(bits) if masked else "")])])
        for method, bits in (("fast-at", better), ("fast-bat", worse))
        for masked in (True,)
    ]
    (group,) = groups_of(read([suite(tmp_path / "masks", trials)]))
    assert [row.place for row in group.rows] == [(1, 1), (2, 2)]
    for each in trials:
        del each["results"][0]["accuracies"][0]["mask"]
    (group,) = groups_of(read([suite(tmp_path / "none", trials)]))
    assert [row.place for row in group.rows] == [(1, 2), (1, 2)]


def test_costs_are_in_trainings_of_fast_at_and_the_front_is_what_nothing_cheaper_beats(tmp_path):
    seconds = {"fast-at": (10, 40), "fast-bat": (30, 60), "pgd-2": (20, 35), "atta": (40, 50)}
    trials = [
        trial(method, 0, [epoch(k, seconds=cost) for k in (1, 2)], [evaluation([accuracy("pgd", 8, hits, 100)])])
        for method, (cost, hits) in seconds.items()
    ]
    (group,) = groups_of(read([suite(tmp_path, trials)]))
    assert {row.name: row.cost.value for row in group.rows} == {"FAST-AT": 1, "FAST-BAT": 3, "PGD-2": 2, "ATTA": 4}
    assert [mark.name for mark in front(measured(group, Cards()))] == ["FAST-AT", "FAST-BAT"]


def test_of_several_seeds_the_fastest_is_the_cost_since_other_work_only_adds(tmp_path):
    seconds = {"fast-at": (10, 80, 12), "pgd-2": (90, 20, 15)}
    trials = [
        trial(method, seed, [epoch(1, seconds=each)], [evaluation([accuracy("pgd", 8, 40, 100)])])
        for method, of in seconds.items()
        for seed, each in enumerate(of)
    ]
    (group,) = groups_of(read([suite(tmp_path, trials)]))
    assert {row.name: row.cost.value for row in group.rows} == {"FAST-AT": 1, "PGD-2": 1.5}


def test_findings_name_who_is_told_apart_from_the_best_who_collapsed_and_what_is_open(tmp_path):
    hits = {"fast-at": 60, "fast-bat": 58, "pgd-2": 20, "atta": 57, "trades": 57, "yopo": 56, "free-at": 56}
    ends = {
        "pgd-2": [epoch(1), epoch(2, 1, 60, collapsed=True)],
        "atta": [epoch(1, collapsed=True), epoch(2)],
    }
    trials = [
        trial(method, 0, ends.get(method), [evaluation([accuracy("pgd", eps, of, 100)])], eps)
        for method, of in hits.items()
        for eps in (8, 16)
    ]
    for each in trials:
        del each["results"][0]["accuracies"][0]["mask"]
    found = read([suite(tmp_path, trials)])
    lead, cost, collapse, open_ = findings(groups_of(found), found)
    assert lead.text.startswith(
        "At eps 8, FAST-AT has the highest RA-PGD-50-10, 60.0 %. It cannot be distinguished from FAST-BAT 58.0, "
        "ATTA 57.0, TRADES 57.0, FREE-AT 56.0 and one more. At eps 16, "
    )
    assert cost.text.endswith(UNTIMED)
    assert collapse.head == "2 of 14 ended collapsed."
    assert collapse.text.startswith("At eps 8: PGD-2. At eps 16: PGD-2. ")
    assert "The guard warned of two more that recovered." in collapse.text
    assert open_.text.startswith("There is one seed a row")


@pytest.mark.parametrize(("seeds", "head"), [(1, "Ahead on these images."), (3, "A clear lead.")])
def test_a_lead_of_one_seed_is_one_on_these_images(seeds, head, tmp_path):
    trials = [
        trial(method, seed, results=[evaluation([accuracy("pgd", 8, hits + seed, 1000)])])
        for method, hits in (("fast-at", 300), ("fast-bat", 500))
        for seed in range(seeds)
    ]
    found = read([suite(tmp_path, trials)])
    lead = findings(groups_of(found), found)[0]
    assert lead.head == head
    assert ("another training may come out otherwise" in lead.text) is (seeds == 1)


@pytest.mark.parametrize("name", ["shortcut", "implicit-term/eps16", "implicit-term/eps8"])
def test_the_guards_rule_finds_the_collapses_that_were_recorded(name):
    for found in read([EXPERIMENTS / name]).trials:
        bare = [{key: value for key, value in each.items() if key != "collapsed"} for each in found.epochs]
        assert collapsed(bare) == collapsed(found.epochs)
        assert fell(bare) == fell(found.epochs)


# The page


class Page(HTMLParser):
    """What a page holds: tags that are open and closed again, ids, links, text."""

    VOID = ("meta", "link", "input", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.cards, self.text, self.scripts = [], [], [], [], [], []
        self.handlers = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        self.handlers += [name for name in about if name.startswith("on")]
        self.ids += [about["id"]] if "id" in about else []
        self.links += [about[name] for name in ("href", "src", "action", "srcset", "poster") if about.get(name)]
        self.cards += [int(about["data-p"])] if "data-p" in about else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open[-1:] == ["script"] else self.text).append(data)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages of all kinds, by name."""
    folder = tmp_path_factory.mktemp("pages")
    kept = {"suite": [EXPERIMENTS / "methods" / "he-shortcut"], "many": [EXPERIMENTS / name for name in SUITES]}
    kept |= {"runs": [EXPERIMENTS / "cifar10-he-shortcut"], "one": [run_with_everything(folder / "run")]}
    kept |= {"hostile": [hostile(folder / "hostile")], "bare": [suite(folder / "bare", [trial("fast-at", 0)])]}
    return {name: write_report(folders, folder / f"{name}.html").read_text() for name, folders in kept.items()}


NAMES = ["suite", "many", "runs", "one", "hostile", "bare"]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_whole_and_every_link_in_it_leads_somewhere(name, pages):
    page = Page(pages[name])
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert [link for link in page.links if not link.startswith(("#", "data:"))] == []
    assert [link for link in page.links if link.startswith("#") and link[1:] not in page.ids] == []
    data = json.loads(page.scripts[0])
    assert all(0 <= card < len(data["cards"]) for card in page.cards)
    assert all(origin < len(data["origins"]) and f"s{source}" in page.ids for *_, origin, source in data["cards"])
    assert not re.search(
        r"\bnan\b|\binf\b|undefined|>None<", " ".join([*page.text, *re.findall('points="([^"]*)"', pages[name])])
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_policy_forbids_requests_and_names_the_one_script(name, pages):
    (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', pages[name])
    script = pages[name].rpartition("<script>")[2].partition("</script>")[0]
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.replace("&#39;", "'") == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"https?:|//[a-z]+\.", re.sub(r"data:[^\"']*", "", pages[name]))


def test_names_from_records_are_text_wherever_they_stand(pages):
    page = pages["hostile"]
    assert page.count("<script") == 2  # the data and the script
    assert "<script>alert(1)</script>" in "".join(Page(page).text)
    assert Page(page).handlers == []
    raw = page.partition('id="data">')[2].partition("</script>")[0]
    assert "<" not in raw
    assert "alert(1)" in json.dumps(json.loads(raw))


def test_the_same_records_make_the_same_page(tmp_path):
    folder = run_with_everything(tmp_path / "run")
    first = write_report([folder], tmp_path / "a.html").read_bytes()
    assert write_report([folder], tmp_path / "b.html").read_bytes() == first


def test_a_title_may_be_given_and_is_made_otherwise(tmp_path):
    folder = suite(tmp_path / "s", [trial(method, 0) for method in ("fast-at", "fast-bat")])
    made = write_report([folder], tmp_path / "a.html").read_text()
    assert "<title>Adversarial training on CIFAR-10: FAST-AT and FAST-BAT</title>" in made
    main(["report", str(folder), "--out", str(tmp_path / "b.html"), "--title", "Mine & ours"])
    assert "<title>Mine &amp; ours</title>" in (tmp_path / "b.html").read_text()


def test_what_is_not_there_is_a_dash_and_a_word(pages):
    assert '<span aria-hidden="true">\u2013</span><span class="vh">not measured</span>' in pages["many"]
    assert "machine not recorded" in pages["suite"]
    assert '"training","not recorded; its settings: --' in pages["suite"]


def test_the_papers_numbers_stand_beside_the_measured(pages):
    assert '<span class="vh">paper </span>45.5' in pages["many"]
    assert "The paper, Tables 1 to 11" in pages["many"]
    for other in ("suite", "one"):  # He's shortcut, another data set
        assert '<span class="vh">paper </span>' not in pages[other]


def test_a_black_box_accuracy_is_an_upper_bound_and_attacks_that_disagree_are_told(tmp_path):
    bound = accuracy("square", 8, 60, 100) | {"upper_bound": True}
    a, b = [1] * 50 + [0] * 50, [0] * 10 + [1] * 50 + [0] * 40
    both = [
        accuracy("clean", 0, 100, 100, mask([1] * 100)),
        accuracy("pgd", 8, 50, 100, mask(a)),
        accuracy("aa", 8, 50, 100, mask(b)),
    ]
    results = [evaluation([*both, bound])]
    folder = suite(tmp_path / "s", [trial("fast-at", 0, results=results), trial("fast-bat", 0)])
    page = write_report([folder], tmp_path / "page.html").read_text()
    assert "≤ 60.0" in page
    assert "40 of 100 withstand them all" in page


def test_appendix_e_is_on_the_page_with_the_slope_of_each_decay(tmp_path):
    page = write_report([gradients_suite(tmp_path / "s", slope=-0.7)], tmp_path / "r.html").read_text()
    section = page[page.index('<section id="theory"') :]
    section = section[: section.index("</section>")]
    assert "<td>a</td><td>32</td><td>64</td><td>10.0 %</td><td>5.0 %</td><td>35 %</td><td>three seeds</td>" in section
    assert "c = a, 32 images: \u22120.71 [\u22120.73, \u22120.69]; c = a, all images: \u22120.71" in section
    assert 'id="theory"' not in write_report([comparison(tmp_path / "c")], tmp_path / "c.html").read_text()


def test_a_claim_that_no_experiment_decides_is_on_the_page_with_its_reason(tmp_path):
    page = write_report([gradients_suite(tmp_path / "s")], tmp_path / "r.html").read_text()
    section = page[page.index('<section id="claims"') :]
    assert section.count("not testable</span>") == 2
    assert "The paper names no measure of success." in section
    assert "2 not testable" in section


def test_claims_with_a_comparison_are_on_the_page(tmp_path):
    trials = [
        trial(method, seed, results=[evaluation([accuracy("pgd", 16, hits, 100)])], eps=16, shortcut="raw")
        for method, hits in (("fast-at", 20), ("fast-at-ga", 60))
        for seed in (0, 1)
    ]
    page = write_report([suite(tmp_path, trials)], tmp_path / "page.html").read_text()
    assert "FAST-AT-GA outperforms FAST-AT at eps 16." in page
    assert "1 of 1 comparisons held, 5 of 6 not made. By the paper&#39;s own tables: yes." in page
    assert "fast-at-ga less fast-at: +40.00 [" in page
    assert "the paper +4.18; two seeds, 100 images" in page
    assert "FAST-BAT is more stable than the baselines" not in page


def test_an_interval_beyond_the_scale_is_cut_and_says_so(tmp_path):
    trials = [
        trial("fast-at", seed, results=[evaluation([accuracy("pgd", 8, hits)])]) for seed, hits in ((0, 5), (1, 20))
    ]
    page = write_report([suite(tmp_path, trials)], tmp_path / "page.html").read_text()
    assert top_with([5, 20], [100]) == 30
    assert '<span class="iv cut"' in page
    assert "0.0 to 100.0" in page


def test_sources_of_one_name_have_their_folders_too(tmp_path):
    for name in ("a", "b"):
        suite(tmp_path / name / "eps8", [trial("fast-at", 0)])
    found = read([tmp_path / "a" / "eps8", tmp_path / "b" / "eps8"])
    assert [source.name for source in found.sources] == ["a/eps8", "b/eps8"]


def test_a_trial_that_failed_later_keeps_what_it_had(tmp_path):
    failed = {"trial": "fast-at-seed0", "train": {}, "evaluate": [], "status": "failed", "error": "no space"}
    found = read([suite(tmp_path, [trial("fast-at", 0), failed])])
    assert [each.name for each in found.trials] == ["fast-at-seed0"]
    assert found.sources[0].failed == (("fast-at-seed0", "no space"),)


def test_scales_and_numbers_are_round():
    assert ticks(0, 50, 5) == [0, 10, 20, 30, 40, 50]
    assert ticks(0.3, 0.3) == [0.3]
    assert [coordinate(value) for value in (3.0, 3.14, -0.01, 12.96)] == ["3", "3.1", "0", "13"]
    lightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in ramp(9)]
    assert lightness == sorted(lightness)


# Where numbers come from


def test_a_training_and_an_evaluation_keep_command_commit_and_machine(tmp_path, capsys, monkeypatch):
    few = ["--epochs", "1", "--width", "2", "--train-limit", "60", "--select-limit", "20", "--select-steps", "1"]
    tokens = ["train", "--method", "fast-at", "--eps", "30", *few, "--out", str(tmp_path / "run")]
    for words in (tokens, [*tokens, "--resume"]):
        monkeypatch.setattr("sys.argv", [cli.__file__, *words])
        main()
    first, second = read_records(tmp_path / "run" / "provenance.jsonl")
    assert first["command"] == f"fastbat {' '.join(tokens)}"
    assert second["command"].endswith("--resume")
    assert first["versions"]["commit"] == commit()
    assert first["machine"]["threads"] >= 1
    assert first["machine"]["cores"] >= 1
    assert first["machine"]["cpu"]
    page = tmp_path / "page.html"
    words = ["--attacks", "clean,fgsm", "--limit", "20", "--seed", "3"]
    main(["evaluate", str(tmp_path / "run"), *words, "--report", str(page)])
    (record,) = read_records(tmp_path / "run" / "evaluation.jsonl")
    assert record["settings"]["machine"] == first["machine"]
    assert (
        record["settings"]["command"] == f"fastbat evaluate {tmp_path / 'run'} --attacks=clean,fgsm --limit=20 --seed=3"
    )
    text = page.read_text()
    data = json.loads(Page(text).scripts[0])
    lines = dict(data["origins"][data["cards"][0][2]])
    assert lines["evaluation"] == record["settings"]["command"]
    assert lines["training"] == first["command"]
    assert lines["machine"].startswith(first["machine"]["cpu"])
    assert f"wrote {page}" in capsys.readouterr().err


def test_an_evaluation_by_the_library_names_the_program_that_asked(tmp_path):
    small = Settings(dataset="digits", epochs=1, width=2, train_limit=60, select_limit=20, select_steps=1)
    run = train(METHODS["fast-at"](eps=0.1), small, tmp_path / "run")
    assert read_records(run.provenance)[0]["command"] == command_line()
    assert evaluate_target(run.path, attacks=["clean"], limit=5).settings["command"] == command_line()


def test_a_page_that_cannot_be_written_is_refused_before_the_attacks(tmp_path, capsys):
    (tmp_path / "folder.html").mkdir()
    for name, message in (("a.pdf", "must end in .html"), ("folder.html", "is a folder; name a file in it")):
        with pytest.raises(SystemExit) as stop:
            main(["evaluate", str(tmp_path), "--report", str(tmp_path / name)])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


def test_records_of_old_versions_are_read(tmp_path):
    shutil.copytree(EXPERIMENTS / "cifar10-he-shortcut" / "fast-at-eps8", tmp_path / "run")
    (group,) = groups_of(read([tmp_path / "run"]))
    row = next(row for row in group.rows if row.checkpoint == "best")
    flat = read_records(tmp_path / "run" / "evaluation.jsonl")
    best = next(record for record in flat if record["checkpoint"] == "best.safetensors")
    assert row.cells["pgd"].percent == pytest.approx(best["ra_pgd"])
    assert [row.cells["aa"].low, row.cells["aa"].high] == pytest.approx(best["ra_aa_interval"], abs=1e-3)
    assert row.checked == "not checked"


def test_the_page_of_one_model_lists_every_attack_at_every_budget(tmp_path):
    made = [accuracy("clean", 0, 90, 100), *(accuracy(name, eps, hits, 100) for name, eps, hits in
            (("pgd", 1, 30), ("aa", 1, 20), ("pgd", 8, 2), ("aa", 8, 0)))]  # fmt: skip
    found = read([suite(tmp_path, [trial("fast-at", 0, results=[evaluation(made)])])])
    row = only_row(groups_of(found))
    shown = [(each["label"], each["text"]) for each in accuracies(row, Cards())]
    assert shown == [
        ("SA", "90.0"), ("RA-PGD-50-10 at eps 1/255", "30.0"), ("RA-AA at eps 1/255", "20.0"),
        ("RA-PGD-50-10 at eps 8/255", "2.0"), ("RA-AA at eps 8/255", "0.0"),
    ]  # fmt: skip
    text = robustness(row).text
    assert "20.0 % [13.3, 28.9] at eps 1/255 (RA-AA), 0.0 % [0.0, 3.7] at eps 8/255 (RA-AA)." in text
