"""The site: every page is on it, its links lead to what is staged, and what is wrong fails the build."""

import json
import re
import runpy
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import fastbat
from fastbat.methods import METHODS
from fastbat.training import Settings
from pages import DOCS
from prose import anchors, links

ROOT = DOCS.parent
SITE = runpy.run_path(str(DOCS / "site" / "build.py"), run_name="imported")
PAGES = [page for page in (*SITE["sources"](), ROOT / "README.md") if page.suffix == ".md"]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of staged pages."""
    pages: Path = tmp_path_factory.mktemp("site") / "pages"
    SITE["stage"](pages)
    return pages


def named(part: Any) -> list[str]:
    """Return the pages of a part of the navigation, in order."""
    if isinstance(part, str):
        return [part]
    return [page for each in (part.values() if isinstance(part, dict) else part) for page in named(each)]


def test_the_navigation_has_every_page_but_the_entries_of_the_log(staged: Path) -> None:
    nav = named(SITE["settings"]()["project"]["nav"])
    there = {str(page.relative_to(staged)) for page in staged.rglob("*.md")}
    assert len(nav) == len(set(nav))
    assert {page for page in there if not page.startswith(("source/", "log/"))} == set(nav)


def test_every_link_of_a_staged_page_leads_to_what_is_staged(staged: Path) -> None:
    missing = []
    for page in staged.rglob("*.md"):
        if page.is_relative_to(staged / "source"):
            continue
        for link in links(page):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
                missing.append(f"{page.relative_to(staged)}: {link}")
    assert missing == []


def test_the_page_of_the_command_line_has_every_command_and_every_flag(staged: Path) -> None:
    text = (staged / "reference" / "command-line.md").read_text()
    named = set(re.findall(r"^\| `fastbat (\w+)", text, flags=re.MULTILINE))
    assert named == set(re.findall(r"^## fastbat (\w+)$", text, flags=re.MULTILINE)) > {"train", "evaluate"}
    assert all(f"`--{name.replace('_', '-')}" in text for name in Settings.__dataclass_fields__)
    assert "<!--" not in text


def test_the_page_of_python_asks_for_functions_and_classes_alone(staged: Path) -> None:
    """Not for modules, whose every function would be shown: `fastbat.train` is one, too, to a reader of the source."""
    names = re.findall(r"^::: ([\w.]+)$", text := (staged / "reference" / "python.md").read_text(), flags=re.MULTILINE)
    assert len(names) > 10
    for name in names:
        module, _, last = name.rpartition(".")
        assert not (ROOT / "src" / module.replace(".", "/") / f"{last}.py").exists()
        if module == "fastbat":
            found = sys.modules[getattr(fastbat, last).__module__]
            assert not found.__name__.endswith(f".{last}"), f"name it in full: {found.__name__}.{last}"
    assert "<!--" not in text


def test_a_linked_file_is_shown_and_a_linked_folder_is_listed(staged: Path) -> None:
    source = ROOT / "src" / "fastbat" / "methods"
    shown = (staged / "source" / "src" / "fastbat" / "methods" / "fast_at.py.md").read_text()
    assert (source / "fast_at.py").read_text() in shown
    listed = (staged / "source" / "src" / "fastbat" / "methods.md").read_text()
    assert all(f"`{METHODS[name].__module__.rpartition('.')[2]}.py`" in listed for name in METHODS)


def test_the_notebook_is_a_page_with_its_code_and_what_it_showed(staged: Path) -> None:
    text, notebook = (staged / "start" / "notebook.md").read_text(), json.loads(SITE["NOTEBOOK"].read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert f"```python\n{''.join(cell['source'])}\n```" in text
    assert "](../guides/own-loop.md)" in text
    assert text.count('src="data:image/png;base64,') == 2
    assert text.count("</pre>") == 2
    assert "epoch 12/12" in text


def test_links_are_turned_outside_of_code_alone() -> None:
    page = DOCS / "guides" / "speed.md"
    text = (
        "[a](../log/README.md#b) ![c](../methods/fast-bat.svg)\n```\n[d](../log/README.md)\n```\n[e](gone.md) [f](#g)\n"
    )
    turned, linked = SITE["turned"](page, text)
    assert turned == text.replace("../log/README.md#b", "../development/log.md#b")
    assert linked == [DOCS / "log" / "README.md", DOCS / "methods" / "fast-bat.svg"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_list_begins_after_an_empty_line(page: Path) -> None:
    """A git host begins one in the middle of a paragraph; the site does not."""
    text = re.sub(r"^(```|~~~)(.|\n)*?^\1", "", page.read_text(), flags=re.MULTILINE)
    assert re.findall(r"^(?![-*|#>\s]|\d+\. )\S.*\n(?:- |\d+\. ).*", text, flags=re.MULTILINE) == []


def test_the_figure_of_the_architecture_is_drawn_of_the_imports_as_they_are() -> None:
    script = runpy.run_path(str(DOCS / "development" / "draw.py"), run_name="imported")
    assert script["drawing"]() == (DOCS / "development" / "architecture.svg").read_text()
    boxes = re.findall(r'<rect x="([\d.]+)" y="(\d+)"[^>]* class="box"/>', script["drawing"]())
    assert len(boxes) == len(set(boxes)) > 10
    assert script["arrows"]({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == [("a", "b"), ("b", "c")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# A\n\n[B](b.md#c), $x_1$, ::: no directive\n\n::: fastbat.geometry.Box\n", ""),
        ("[B](gone.md)\n", "page does not exist"),
        ("[B](b.md#gone)\n", "anchor does not exist"),
        ("::: fastbat.geometry.Gone\n", "Gone"),
        (r"$\nonsense{x}$" + "\n", "nonsense"),
        ("```math\n\\nonsense{x}\n```\n", "nonsense"),
    ],
)
def test_what_is_wrong_fails_the_build(text: str, complaint: str, tmp_path: Path) -> None:
    pytest.importorskip("zensical")
    project = tomllib.loads((DOCS / "site" / "zensical.toml").read_text())
    project["project"] |= {"nav": ["a.md", "b.md"], "extra_css": []}
    project["project"]["plugins"]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT / "src")]
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.md").write_text(text)
    (tmp_path / "pages" / "b.md").write_text("# B\n\n## C\n")
    status, said = SITE["build"](tmp_path, project)
    assert (status == 0) == (not complaint), said
    assert complaint in said
