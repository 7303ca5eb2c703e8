"""The style of every page (CONTRIBUTING.md): a sentence says one thing, in the field's words; a log entry is short."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOG = sorted((ROOT / "docs" / "log").glob("2*.md"))
GROUPS = {
    "README": [ROOT / "README.md"],
    "docs": sorted(set((ROOT / "docs").rglob("*.md")) - set(LOG)),
    "log": LOG,
    "experiments": sorted((ROOT / "experiments").rglob("*.md")),
    "CONTRIBUTING": [ROOT / "CONTRIBUTING.md"],
    "CHANGELOG": [ROOT / "CHANGELOG.md"],
}
PAGES = [page for pages in GROUPS.values() for page in pages]
LONGEST = 35  # words in a sentence
MEAN = {"log": 15}  # words a sentence; 16 elsewhere

# Words that a reader had to translate. Only those are listed that have one replacement whatever the sentence says:
# "say" or "where" are right in most sentences, and a machine cannot tell which.
WORDS = {
    r"to be had": "available",
    r"mend(s|ed|ing)?": "fix",
    r"(go|goes|going|gone|went) on(?! (a|an|the|disk)\b)": "resume, continue",
    r"beside": "next to",
    r"so many": "N, the number",
    r"told from": "distinguished from",
    r"accus\w+": "flag",
    r"(feel|feels|felt)": "depend on (code is not a person)",
    r"rehears\w+": "dry run",
    r"want of": "lack of, out of",
    r"at hand": "available",
    r"pictures?": "image, figure",
    r"anew": "again, from scratch",
    r"lest": "so that ... not",
    r"(whoever|whosoever)": "anyone who",
    r"(thrice|whence|wherein|thereof|therein|hitherto|ere|nought|naught)": "the plain word",
}
IN_CODE = (r"pictures?", r"accus\w+")  # of the source's own words: a module is called so, a flag does
MODULES = sorted((ROOT / "src").rglob("*.py"))
ABBREVIATION = re.compile(r"((^|[\s(])[A-Z]|\b(Eqs?|Secs?|Apps?|Figs?|Prop|Cor|Tab|al|vs|cf|etc|e\.g|i\.e))\.$")


def blocks(text: str) -> Iterator[str]:
    """Yield each paragraph, list item, heading and table cell as one line, without code, formulas and references."""
    text = re.sub(r"^ *(```|~~~)(.|\n)*?^ *\1", "", text, flags=re.MULTILINE)
    text = re.sub(r"<!--(.|\n)*?-->", "", text)
    text = re.sub(r"(?<=\n\n)( {4}.*\n)+", "\n", text)  # indented code
    text = re.sub(r"^(?=\s*([-*+]|\d+\.)\s|[#|>])", "\n", text, flags=re.MULTILINE)  # what starts a block
    text = re.sub(r"^[#|].*$", r"\g<0>\n", text, flags=re.MULTILINE)  # a heading or a row is one line
    for block in re.split(r"\n\s*\n", text):
        line = plain(" ".join(block.split()))
        if line.startswith("|"):
            yield from (cell.strip() for cell in line.strip("|").split("|") if "---" not in cell)
        elif not line.startswith("**Reference.**"):
            yield re.sub(r"^(([-*+]|\d+\.|#+|>)\s)+", "", line)


def plain(line: str) -> str:
    """Return the words of a line of Markdown: code and a formula are one word each, a link is its text."""
    line = re.sub(r"(`+)(.+?)\1", "code", line)
    line = re.sub(r"\$[^$]+\$", "formula", line)
    line = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", line)
    line = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line)
    return re.sub(r"<[^>\s][^>]*>", " ", line)


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a page."""
    for block in blocks(text):
        sentence = ""
        for part in re.split(r"(?<=[.!?])[*_\"')\]]*\s+", block):
            sentence = f"{sentence} {part}".strip()
            if not ABBREVIATION.search(part):
                yield sentence
                sentence = ""
        if sentence:
            yield sentence


def length(sentence: str) -> int:
    """Return the number of words: what lies between spaces and has a letter or a digit."""
    return sum(any(c.isalnum() for c in word) for word in sentence.split())


def finished(page: Path) -> list[int]:
    """Return the lengths of the page's full sentences, without headings, cells and items that are none."""
    return [length(s) for s in sentences(page.read_text()) if s.rstrip("*_)\"'").endswith((".", ":"))]


def test_a_page_is_cut_into_its_sentences():
    page = """# A title

    fastbat train    # an indented block is code.

Shown by A. Madry et al. (2018), Eq. 8. torch 2.14.1 is
fine ("really."). Of `a.b` or $x. y$ little.

- One [link](http://a.b/c. d) here
- Two. **Three.**

| a cell. | `x | y` |
| --- | --- |

```python
x = "code. More."
```

**Reference.** A. Author, *A very long title*.
"""
    assert list(sentences(page)) == [
        "A title",
        "Shown by A. Madry et al. (2018), Eq. 8.",
        'torch 2.14.1 is fine ("really.").',
        "Of code or formula little.",
        "One link here",
        "Two.",
        "**Three.**",
        "a cell.",
        "code",
    ]
    assert [length(sentence) for sentence in ("A bound of 0.5 % - no more.", "--- |", "a/b c-d")] == [6, 0, 2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_is_too_long(page: Path):
    assert [s for s in sentences(page.read_text()) if length(s) > LONGEST] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_word_needs_a_translator(page: Path):
    found = [
        f"{match[0]!r} ({instead}): {sentence}"
        for sentence in sentences(page.read_text())
        for word, instead in WORDS.items()
        if (match := re.search(rf"\b({word})\b", sentence, re.IGNORECASE))
    ]
    assert found == []


def printed(source: str) -> Iterator[str]:
    """Yield the texts of a module that a user reads: messages, and help, which is what stands below a field."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT / "src")))
def test_no_word_of_a_message_needs_a_translator(module: Path):
    found = [
        f"{match[0]!r} ({instead}): {text}"
        for text in printed(module.read_text())
        for word, instead in (WORDS | {"told": "given, printed"}).items()
        if word not in IN_CODE and (match := re.search(rf"\b({word})\b", text))
    ]
    assert found == []


def test_the_texts_of_a_module_are_its_messages_and_its_help():
    source = (
        '"""Doc."""\nclass A:\n    """Doc."""\n    b: int = 1\n    """Help."""\n    def c(self):\n        """Doc."""\n'
    )
    assert [*printed(source + '        raise E(f"{self} is bad; mend it")')] == ["Help.", " is bad; mend it"]


@pytest.mark.parametrize("group", [group for group, pages in GROUPS.items() if pages])
def test_sentences_are_short_in_the_mean(group: str):
    assert mean(n for page in GROUPS[group] for n in finished(page)) <= MEAN.get(group, 16)


@pytest.mark.parametrize("entry", LOG, ids=lambda entry: entry.stem)
def test_an_entry_of_the_log_is_short_and_says_where_its_numbers_are_from(entry: Path):
    text = entry.read_text()
    assert re.match(r"\d{4}-\d\d-\d\d-[a-z0-9-]+$", entry.stem)
    assert text.startswith("# ")
    assert len(text.splitlines()) <= 40
    assert "**Provenance.**" in text


def test_the_index_of_the_log_has_every_entry_newest_first():
    text = (ROOT / "docs" / "log" / "README.md").read_text()
    rows = re.findall(r"^\| ([\d-]+) \| \[(.+)\]\((.+)\.md\) \|$", text, flags=re.MULTILINE)
    assert sorted(stem for _, _, stem in rows) == sorted(entry.stem for entry in LOG)
    assert all(stem.startswith(date) for date, _, stem in rows)
    assert [date for date, _, _ in rows] == sorted((date for date, _, _ in rows), reverse=True)
    assert {stem: title for _, title, stem in rows} == {e.stem: e.read_text().splitlines()[0][2:] for e in LOG}
