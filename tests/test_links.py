"""Every relative link of the pages leads to a file, and to a heading of it where it names one."""

from pathlib import Path

import pytest

from prose import anchors, links

ROOT = Path(__file__).resolve().parents[1]
FRONT = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
PAGES = [*FRONT, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "experiments").rglob("*.md"))]


def broken(page: Path) -> list[str]:
    missing = []
    for link in links(page):
        target, _, anchor = link.partition("#")
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            missing.append(link)
    return missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    assert broken(page) == []


def test_a_missing_file_and_a_missing_heading_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text('# It is *here*, "twice"\n\n## Same\n\n## Same\n\n<a id="named"></a>\n')
    good = "[a](other.md) [b](other.md#it-is-here-twice) [c](other.md#same-1) [d](other.md#named) [e](#top) [f](http://x.y)"
    (tmp_path / "page.md").write_text(f"# Top\n\n{good}\n\n```\n[code](nowhere.md)\n```\n")
    assert broken(tmp_path / "page.md") == []
    (tmp_path / "page.md").write_text("[a](gone.md) [b](other.md#gone) [c](#top) ![d](gone.svg)\n")
    assert broken(tmp_path / "page.md") == ["gone.md", "other.md#gone", "#top", "gone.svg"]
