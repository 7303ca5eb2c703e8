"""Build the site: stage the repository's pages under site/pages, and let Zensical turn them into site/html.

    docs/PAGE                       PAGE
    experiments/QUESTION/README.md  the same, with its figure
    CONTRIBUTING.md, CHANGELOG.md   development/
    examples/quickstart.ipynb       start/notebook.md, its cells and what they showed
    what else a page links to       source/FILE, on a page that shows it

Links of a page are relative to its file, so that a git host follows them; staging turns them to where both ends lie.
Two comments of a page, which a git host does not show, are filled in:

    <!-- ::: fastbat.train -->      what the docstring says
    <!-- fastbat --help -->         every command with its flags, as the parser has them

A broken link, a heading that is not there or an unknown name fails the build.

    python docs/site/build.py
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from os.path import relpath
from pathlib import Path
from typing import Any

import tomli_w

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DOCS, SITE = ROOT / "docs", ROOT / "site"
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
ELSEWHERE = {
    "examples/quickstart.ipynb": "start/notebook.md",
    "CONTRIBUTING.md": "development/contributing.md",
    "CHANGELOG.md": "development/changelog.md",
    "docs/log/README.md": "development/log.md",  # one page of several, not the first of its tab
}
FIGURES = (".svg", ".png")
LANGUAGES = {".py": "python", ".toml": "toml", ".jsonl": "json", ".json": "json", ".cff": "yaml"}
LONGEST = 15_000  # characters of a file that are shown
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def main() -> None:
    """Stage the pages and build the site; exit with Zensical's status."""
    shutil.rmtree(SITE, ignore_errors=True)
    stage(SITE / "pages")
    status, said = build(SITE, settings())
    print(said)
    if status == 0:
        print("The site is in site/html. To read and search it: python -m http.server --directory site/html")
    sys.exit(status)


def build(folder: Path, settings: dict[str, Any]) -> tuple[int, str]:
    """Build folder/html of folder/pages; return Zensical's status, 0 only without a warning, and what it said."""
    (folder / "zensical.toml").write_text(tomli_w.dumps(settings))
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", "zensical.toml"]
    modules = {"PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))}  # mathml.py
    done = subprocess.run(command, cwd=folder, env=os.environ | modules, capture_output=True, text=True, check=False)
    said = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
    return done.returncode, re.sub(r"^Traceback.*\n(?: .*\n)*", "", said, flags=re.MULTILINE).strip()


@cache
def sources() -> tuple[Path, ...]:
    """Return the pages of the site, as they lie in the repository."""
    pages = [*DOCS.rglob("*.md"), *(ROOT / "experiments").rglob("README.md")]
    return (*sorted(pages), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", NOTEBOOK)


def stage(pages: Path) -> None:
    """Write the pages of the site into the folder `pages`, and with them all that they link to."""
    written, waiting = set(), list(sources())
    while waiting:
        source = waiting.pop()
        if source in written:
            continue
        written.add(source)
        target = pages / placed(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix in FIGURES:
            shutil.copy(source, target)
        elif source.suffix in (".md", ".ipynb"):
            page = source.read_text()
            text, linked = turned(source, page if source.suffix == ".md" else cells(json.loads(page)))
            target.write_text(filled(text))
            waiting += linked
        else:
            target.write_text(shown(source))
    shutil.copy(HERE / "site.css", pages / "site.css")


def placed(source: Path) -> str:
    """Return where a file of the repository lies on the site."""
    name = str(source.relative_to(ROOT))
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    if source.suffix in FIGURES or source in sources():
        return name.removeprefix("docs/")
    return f"source/{name}.md"


def turned(source: Path, text: str) -> tuple[str, list[Path]]:
    """Return the text of a page with its relative links as the site has them, and the files they lead to."""
    here, linked = Path(placed(source)).parent, []

    def turn(link: re.Match[str]) -> str:
        before, target, after = link.groups()
        name, _, anchor = target.partition("#")
        if "://" in target or not name:
            return link[0]
        file = (source.parent / name).resolve()
        if not (file.is_relative_to(ROOT) and file.exists()):
            return link[0]  # Zensical says that it is broken
        file = file / "README.md" if (file / "README.md").exists() else file
        linked.append(file)
        return f"{before}{relpath(placed(file), here)}{'#' if anchor else ''}{anchor}{after}"

    return outside_code(text, lambda part: LINK.sub(turn, part)), linked


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Return `text` with `change` made to what lies between its blocks of code."""
    found, start = "", 0
    for block in FENCE.finditer(text):
        found += change(text[start : block.start()]) + block[0]
        start = block.end()
    return found + change(text[start:])


def filled(text: str) -> str:
    """Return `text` with its comments filled in."""
    text = re.sub(r"^<!--\s(:::[^>]*)\s-->$", r"\1", text, flags=re.MULTILINE)
    return text.replace("<!-- fastbat --help -->", commands()) if "<!-- fastbat --help -->" in text else text


def cells(notebook: dict[str, Any]) -> str:
    """Return a notebook as a page: its words, its code, and what that showed."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        parts += map(output, cell.get("outputs", []))
    return "\n\n".join(parts) + "\n"


def output(found: dict[str, Any]) -> str:
    """Return what a cell showed: a figure, a table, or lines of text."""
    kinds = found.get("data", {})
    if "image/png" in kinds:
        return f'<img alt="figure" src="data:image/png;base64,{kinds["image/png"].strip()}">'
    return "".join(kinds["text/html"]) if "text/html" in kinds else f"```text\n{''.join(found['text'])}```"


def commands() -> str:
    """Return every command with its flags, as the parser has them."""
    from fastbat.cli.main import build_app

    text: str = build_app(["train"]).generate_docs()
    return text[text.index("## fastbat train") :]


def shown(source: Path) -> str:
    """Return a page that shows a file of the repository, or the names of a folder."""
    name = source.relative_to(ROOT)
    if source.is_dir():
        files = [file.relative_to(source) for file in sorted(source.rglob("*.*")) if "__pycache__" not in file.parts]
        return f"# {name}/\n\n" + "".join(f"- `{file}`\n" for file in files)
    text = source.read_text()
    if len(text) > LONGEST:
        text = text[:LONGEST] + f"\n... {len(text) - LONGEST:,} more characters"
    return f"# {name}\n\n~~~~~~ {LANGUAGES.get(source.suffix, 'text')}\n{text}\n~~~~~~\n"


def settings() -> dict[str, Any]:
    """Return Zensical's settings, with the experiments in the order of their index."""
    found = tomllib.loads((HERE / "zensical.toml").read_text())
    index = (ROOT / "experiments" / "README.md").read_text()
    (experiments,) = (tab["Experiments"] for tab in found["project"]["nav"] if "Experiments" in tab)
    experiments += [f"experiments/{page}" for page in re.findall(r"^\| \[.*?\]\((.*?)\)", index, re.MULTILINE)]
    return found


if __name__ == "__main__":
    main()
