"""The sentences and the links of a markdown page."""

import re
from pathlib import Path

UNSPLIT = re.compile(r"\b(Eqs?|Sec|Fig|App|al|e\.g|i\.e|vs)\.$")


def paragraphs(text: str) -> list[str]:
    """Return paragraphs and list items, without code blocks, tables, headings, figures and the targets of links."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", lambda link: "" if link[0][0] == "!" else link[1], text)
    found = [""]
    for line in text.splitlines():
        if not line.strip() or line.startswith(("#", "|")) or (line.startswith("    ") and not found[-1]):
            found.append("")  # an indented block is code after an empty line
            continue
        if re.match(r"\s*([-*]|\d+\.) ", line):
            found.append("")
        found[-1] += " " + line.strip()
    return [each.strip() for each in found if each.strip()]


def sentences(text: str) -> list[str]:
    """Return the sentences of a page; one ends at . ! or ? and at the end of its paragraph or list item."""
    found = []
    for paragraph in paragraphs(text):
        start = 0
        plain = paragraph.replace("**", "")
        for stop in re.finditer(r"[.!?][\")'`]*\s+(?=[\"'(`*\w])", plain):
            if not UNSPLIT.search(plain[: stop.start() + 1]):
                found.append(plain[start : stop.end()])
                start = stop.end()
        found.append(plain[start:])
    return [each.strip() for each in found if words(each)]


def words(sentence: str) -> int:
    """Return the words of a sentence; code counts as one."""
    return len(re.findall(r"\w[\w'.,/%-]*", re.sub(r"`[^`]*`", "code", sentence)))


def links(path: Path) -> list[str]:
    """Return the relative links of a page, figures too."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page, as GitHub makes them of headings, and those that it names itself."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        same = sum(each == name or re.fullmatch(re.escape(name) + r"-\d+", each) is not None for each in found)
        found.add(f"{name}-{same}" if same else name)
    return found | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
