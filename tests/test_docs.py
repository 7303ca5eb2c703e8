"""The pages under docs/: what they count and state is so."""

import json
import re
import runpy
import sys
from collections import Counter
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastbat import evaluate
from fastbat.evaluation import ATTACKS
from fastbat.methods import METHODS
from fastbat.tangent import Dual
from test_methods import batch_of, model_of, update

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
EXPERIMENTS = ROOT / "experiments"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@cache
def index() -> dict[str, list[str]]:
    """Return the rows of the index by method."""
    rows = [cells(line) for line in (DOCS / "methods" / "README.md").read_text().splitlines() if line.startswith("|")]
    start = next(i for i, row in enumerate(rows) if row[0] == "method")
    assert rows[start] == ["method", "forward", "backward", "tangent", "BatchNorm", "extra memory", "page"]
    return {row[0]: row[1:] for row in rows[start + 2 :] if len(row) == len(rows[start])}


def row_of(name: str) -> list[str]:
    assert name in index(), f"docs/methods/README.md has no row of {name}"
    return index()[name]


def page(name: str) -> Path:
    return DOCS / "methods" / re.fullmatch(r"\[.*\]\((.*)\)", row_of(name)[-1])[1]


def flags(name: str) -> dict[str, str]:
    """Return the defaults by field that the method's page states, under Settings or under Settings of its name."""
    sections = re.findall(r"^## Settings(.*)\n((?:.|\n)*?)(?=^## |\Z)", page(name).read_text(), flags=re.MULTILINE)
    own = [text for names, text in sections if not names or name in names.split()]
    rows = [cells(line) for text in own for line in text.splitlines() if line.startswith("| `--")]
    return {row[0].strip("`-").replace("-", "_"): row[1].strip("`") for row in rows}


def test_the_index_names_every_method_and_every_page_is_in_it() -> None:
    assert list(index()) == list(METHODS)
    assert all(page(name).exists() for name in METHODS)
    assert {page(name) for name in METHODS} | {DOCS / "methods" / "README.md"} == set((DOCS / "methods").glob("*.md"))


@pytest.mark.parametrize("name", METHODS)
def test_a_page_names_every_flag_with_its_default(name: str) -> None:
    own = {f.name: f.default for f in fields(METHODS[name]) if f.init and f.name != "eps"}
    stated = flags(name)
    assert stated.keys() == own.keys()
    for setting, default in own.items():
        if isinstance(default, str):
            assert stated[setting] == default
        for eps in (8 / 255, 16 / 255):
            if default is None and setting == "lam":  # the name of a rule
                named, ours = METHODS[name](eps=eps, lam=stated[setting]), METHODS[name](eps=eps)
                assert named.resolved == ours.resolved
            elif default is None:  # a formula of eps
                assert eval(stated[setting], {"eps": eps}) == METHODS[name](eps=eps).resolved[setting]
            elif not isinstance(default, str):
                assert eval(stated[setting]) == default


class Tally(torch.autograd.Function):
    """The identity on a network's logits; counts passes."""

    @staticmethod
    def forward(ctx, logits: Tensor, counts: Counter) -> Tensor:
        counts["forward"] += 1
        ctx.counts = counts
        return logits.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.counts["backward"] += 1
        return gradient, None


def counted(module: nn.Module) -> Counter:
    counts: Counter[str] = Counter()

    def count(_: nn.Module, __: Any, output: Tensor | Dual) -> Tensor | None:
        if isinstance(output, Tensor):
            return Tally.apply(output, counts)
        counts["tangent"] += 1
        return None

    module.register_forward_hook(count)
    return counts


@pytest.mark.parametrize("name", METHODS)
def test_the_index_counts_the_passes_of_an_update(name: str) -> None:
    model, batch = model_of("preactresnet18"), batch_of("preactresnet18")
    whole, first = counted(model), counted(model.network.stem)
    update(METHODS[name](eps=8 / 255), model, batch)
    found = [whole["forward"], whole["backward"], whole["tangent"], int(model.network.bn.num_batches_tracked)]
    assert [int(cell) for cell in row_of(name)[:4]] == found
    alone = [first["forward"] - whole["forward"], first["backward"] - whole["backward"]]
    assert alone == ([20, 20] if name == "yopo" else [0, 0])
    if name == "yopo":
        text = (DOCS / "methods" / "README.md").read_text()
        assert "its first layer alone, 20 times each way" in text


def test_the_glossary_names_what_is_in_the_code() -> None:
    rows = [
        cells(line) for line in (DOCS / "reference" / "glossary.md").read_text().splitlines() if line.startswith("| ")
    ]
    names = {name for row in rows for name in re.findall(r"`([^`]+)`", row[-1])}
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    assert len(names) > 60
    assert [name for name in sorted(names) if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", source)] == []


def test_the_pages_on_evaluation_name_every_attack_and_every_flag():
    text = "\n".join((DOCS / "guides" / page).read_text() for page in ("audit.md", "red-flags.md"))
    rows = [cells(line) for line in text.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([\w-]+)`", row[0])}
    source = (ROOT / "src" / "fastbat" / "evaluation" / "flags.py").read_text()
    flags = set(re.findall(r'(?:RedFlag|_beyond)\(\s*"([a-z-]+)"', source)) | {
        "one-step",
        "black-box",
        "margin",
        "autoattack",
    }
    assert len(flags) == 12
    assert ATTACKS.keys() | flags <= named


def test_the_page_on_files_names_every_key_of_the_record():
    text = (DOCS / "reference" / "files.md").read_text().partition("## The record")[2]
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(16, 10)), torch.rand(4, 1, 4, 4)
    record = evaluate(model, (images, model(images).argmax(1)), eps=0.1, attacks=["fgsm"]).record()
    keys = {*record, *record["settings"], *(key for each in record["accuracies"] for key in each)}
    assert keys <= set(re.findall(r"`(\w+)`", text))


def test_what_a_page_says_was_measured_is_what_its_script_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(EXPERIMENTS / "methods"), *sys.path])
    script = runpy.run_path(str(EXPERIMENTS / "methods" / "pages.py"), run_name="imported")
    monkeypatch.delitem(sys.modules, "draw", raising=False)
    methods = [name for names in script["PAGES"].values() for name in names]
    measured = {row[0] for row in rows_of(EXPERIMENTS / "methods" / "README.md")}
    assert sorted(methods) == sorted(METHODS.keys() & measured)
    for stem, names in script["PAGES"].items():
        text = (DOCS / "methods" / f"{stem}.md").read_text()
        assert script["placed"](text, script["section"](stem, names)) == text
        assert (DOCS / "methods" / f"{stem}.svg").exists()


def rows_of(page: Path) -> list[list[str]]:
    return [cells(line) for line in page.read_text().splitlines() if line.startswith("| ")]


def test_the_decision_page_has_the_rows_of_the_experiments() -> None:
    found = rows_of(DOCS / "start" / "which-method.md")
    alike = {row[0]: row[1:3] for row in rows_of(EXPERIMENTS / "methods" / "README.md")}
    steps = {row[1]: row[5] for row in rows_of(EXPERIMENTS / "training-step" / "README.md") if row[0] == "16"}
    for name in METHODS.keys() & alike.keys():
        step = steps["fast-bat, tangent" if name == "fast-bat" else name]
        assert [name, *alike[name], step] in found
    arms = {row[0]: row for row in rows_of(EXPERIMENTS / "fast-step-accuracy" / "README.md")}
    for name, step in {"exact": "fast-bat, tangent", "none": "fast-bat, none"}.items():
        _, sa, _, ra, less = arms[name]
        assert [name, steps[step], sa, ra, less] in found


def test_the_decision_page_has_the_records_of_the_papers_network() -> None:
    records = [json.loads(line) for line in (EXPERIMENTS / "shortcut" / "results.jsonl").read_text().splitlines()]
    kept = {record["trial"]: record for record in records if record["status"] == "finished"}
    rows = [row for row in rows_of(DOCS / "start" / "which-method.md") if row[0] in ("8", "16")]
    assert len(rows) == 6
    for eps, name, *accuracies, collapsed in rows:
        seeds = [kept[f"{name}-shortcutraw-eps{eps}-seed{seed}"] for seed in range(3)]
        firsts = [[each["percent"] for each in record["results"][0]["accuracies"]] for record in seeds]
        assert accuracies == [
            " / ".join(f"{percent:.1f}" for percent in column) for column in zip(*firsts, strict=True)
        ]
        assert collapsed == f"{sum(any(e['collapsed'] for e in record['epochs']) for record in seeds)} of 3"


def test_the_page_of_inputs_names_31_kinds_and_tests_that_are_there() -> None:
    text = (DOCS / "development" / "inputs.md").read_text()
    kinds = [cells(line) for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [row[0] for row in kinds] == [str(i) for i in range(1, 32)]
    for row in kinds:
        tests = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row[-1])
        assert tests, row[1]
        assert all(f"\ndef {name}(" in (ROOT / "tests" / file).read_text() for file, name in tests), row[1]
