"""The pages under experiments/: short sentences, in the index, and tables that their scripts print of the records."""

import json
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from fastbat.suite import read_trials
from prose import sentences, words

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
INDEX = EXPERIMENTS / "README.md"
PAGES = sorted(EXPERIMENTS.glob("*/README.md"))
SCRIPTS = [path for path in sorted(EXPERIMENTS.glob("*/*.py")) if "__main__" in path.read_text()]
PRINTING = [path for path in SCRIPTS if "\ndef tables()" in path.read_text()]
SUITES = [path for path in sorted(EXPERIMENTS.rglob("*.toml")) if path.name != "config.toml"]

Patch = pytest.MonkeyPatch
Run = Callable[[Path], dict[str, Any]]


def named(path: Path) -> str:
    return str(path.relative_to(EXPERIMENTS))


@pytest.fixture
def run(monkeypatch: Patch) -> Iterator[Run]:
    """Import a script as `python experiments/QUESTION/script.py` would, without its main."""
    before = set(sys.modules)

    def load(path: Path) -> dict[str, Any]:
        monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
        return runpy.run_path(str(path), run_name="imported")

    yield load
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(EXPERIMENTS)):
            del sys.modules[name]  # two folders may name a script alike


@pytest.mark.parametrize("page", [INDEX, *PAGES], ids=named)
def test_a_page_is_short_and_so_are_its_sentences(page: Path) -> None:
    text = page.read_text()
    assert page == INDEX or len(text.splitlines()) <= 70
    assert [each for each in sentences(text) if words(each) > 35] == []


def test_sentences_have_sixteen_words_in_the_mean() -> None:
    assert mean(words(each) for page in [INDEX, *PAGES] for each in sentences(page.read_text())) <= 16


def test_the_splitter_counts_sentences_and_leaves_out_what_is_none() -> None:
    text = (
        "# A heading. Not counted.\n\nOne two three. Four (Eq. 13) five,\nsix! `code of four` is\n\n    a block. x\n"
        '\n| a table. | b |\n\n- An item\n  goes on. It [ends here](http://x.y/a. B).\n- **Another.** "Last"\n\n'
        "```\ncode. Code.\n```\n![a figure. B](c.svg)\n"
    )
    assert sentences(text) == [
        *("One two three.", "Four (Eq. 13) five, six!", "`code of four` is"),
        *("- An item goes on.", "It ends here.", "- Another.", '"Last"'),
    ]
    assert [words(each) for each in sentences(text)] == [3, 5, 2, 4, 3, 1, 1]


def test_the_index_has_every_page_with_its_question() -> None:
    rows = [line for line in INDEX.read_text().splitlines() if line.startswith("| [")]
    assert sorted(row.partition("](")[2].partition("/README.md)")[0] for row in rows) == [
        page.parent.name for page in PAGES
    ]
    for page in PAGES:
        title = page.read_text().splitlines()[0].removeprefix("# ")
        assert any(row.startswith(f"| [{title}](") for row in rows), title


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_begins_with_its_answer_and_ends_with_the_commands(page: Path) -> None:
    title, empty, answer = page.read_text().splitlines()[:3]
    assert title.startswith("# ")
    assert title.endswith("?")
    assert empty == ""
    assert answer.startswith("**")
    assert "## Reproduce" in page.read_text()


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_a_script_loads_and_its_docstring_gives_its_command(path: Path, run: Run) -> None:
    lines = [line.strip() for line in run(path)["__doc__"].splitlines()]
    assert any(line.startswith(f"python experiments/{named(path)}") for line in lines)


TIMINGS = {"data-speed": ["batch"], "scaling": [], "training-step": []}  # those that take a device, and what more


@pytest.mark.parametrize("name", TIMINGS)
def test_a_device_that_is_not_there_is_answered_in_a_line(name: str, run: Run, monkeypatch: Patch, capsys: Any) -> None:
    main = run(EXPERIMENTS / name / "measure.py")["main"]
    monkeypatch.setattr(sys, "argv", ["measure.py", *TIMINGS[name], "--device", "tpu"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith("'tpu' is not available here; choose cpu, cuda or auto\n")


def test_a_missing_gpu_is_answered_in_a_line(run: Run, monkeypatch: Patch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="CUDA graphs need a GPU, and torch finds none here"):
        run(EXPERIMENTS / "training-step-gpu" / "cuda_graph.py")["main"]()


@pytest.mark.parametrize("path", PRINTING, ids=named)
def test_the_tables_of_a_page_are_what_its_script_prints(path: Path, run: Run) -> None:
    pages = "".join(page.read_text() for page in path.parent.glob("*.md"))
    printed = run(path)["tables"]()
    assert printed.count("\n") > 3
    assert all(table in pages for table in printed.split("\n\n"))


@pytest.mark.parametrize("path", SUITES, ids=named)
def test_a_table_of_trials_can_be_read(path: Path) -> None:
    assert read_trials(path)


@pytest.mark.parametrize(
    ("suite", "records"),
    [
        ("methods/he-shortcut/suite.toml", "methods/he-shortcut"),
        ("collapse/he-shortcut/suite.toml", "collapse/he-shortcut"),
        ("shortcut/suite.toml", "shortcut"),
        ("implicit-term/eps8.toml", "implicit-term/eps8"),
        ("implicit-term/eps16.toml", "implicit-term/eps16"),
        ("implicit-term/eps8-other-processor/suite.toml", "implicit-term/eps8-other-processor"),
    ],
)
def test_records_are_of_the_trials_of_their_suite(suite: str, records: str) -> None:
    trials = {trial.name: trial.train for trial in read_trials(EXPERIMENTS / suite)}
    kept = [json.loads(line) for line in (EXPERIMENTS / records / "results.jsonl").read_text().splitlines()]
    assert kept
    for record in kept:
        later = {"shortcut"} - record["train"].keys()  # a setting that did not exist then
        assert {name: value for name, value in trials[record["trial"]].items() if name not in later} == record["train"]
