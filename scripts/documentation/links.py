"""Every link, anchor and picture of the built site is there, and nothing comes from elsewhere."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from documentation.problems import Problems

LOADING = {("img", "src"), ("script", "src"), ("link", "href"), ("source", "srcset"), ("iframe", "src")}
MARKDOWN = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
FENCE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.S | re.M)


class _Page(HTMLParser):
    """What a page refers to, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.refers: list[tuple[str, str, str]] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in ("id", "name") and value:
                self.anchors.add(value)
            if key in ("href", "src", "srcset") and value:
                relation = dict(attrs).get("rel") or ""
                if tag == "link" and relation in ("canonical", "next", "prev"):
                    continue
                self.refers.append((tag, key, value))


@cache
def _parsed(file: Path) -> _Page:
    return _Page(file.read_text(encoding="utf-8"))


def check(site: Path, problems: Problems) -> None:
    """Check every page of a built site."""
    _parsed.cache_clear()
    for file in sorted(site.rglob("*.html")):
        if file.name == "404.html":  # it is served from any depth, so its links are absolute
            continue
        page = _parsed(file)
        for tag, key, target in page.refers:
            place = file.relative_to(site).as_posix()
            parts = urlsplit(target)
            if parts.scheme in ("http", "https") or parts.netloc:
                if (tag, key) in LOADING:
                    problems.add(place, f"loads {target} from elsewhere")
                continue
            if parts.scheme in ("mailto", "data", "javascript"):
                continue
            other = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not other.is_file():
                problems.add(place, f"{target} is not there")
            elif parts.fragment and other.suffix == ".html" and unquote(parts.fragment) not in _parsed(other).anchors:
                problems.add(place, f"{target}: the page has no such anchor")
    for file in site.rglob("*.css"):
        for address in re.findall(r"url\(['\"]?(https?:[^)]+)\)", file.read_text(encoding="utf-8")):
            problems.add(file.relative_to(site).as_posix(), f"loads {address} from elsewhere")


def check_sources(root: Path, problems: Problems) -> None:
    """Check that what the repository's own pages refer to is there, as GitHub shows them."""
    for file in [*root.glob("*.md"), *(root / "docs").rglob("*.md")]:
        for match in MARKDOWN.finditer(FENCE.sub("", file.read_text(encoding="utf-8"))):
            target = match[1] or match[2]
            parts = urlsplit(target)
            if parts.scheme or not parts.path:
                continue
            if not (file.parent / unquote(parts.path)).exists():
                problems.add(file.relative_to(root).as_posix(), f"{target} is not there")
