"""Formulas as MathML, which browsers typeset by themselves: no script, no font, nothing from elsewhere."""

from __future__ import annotations

import html
import json
import re
from functools import cache
from pathlib import Path

from latex2mathml.converter import convert

SPAN = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.S)
TEX = re.compile(r"\\[(\[](.*?)\\[)\]]", re.S)


def typeset(page: str) -> str:
    """The HTML page with MathML in the place of TeX."""
    return SPAN.sub(lambda m: _mathml(html.unescape(TEX.sub(r"\1", m[2])).strip(), m[1] == "div"), page)


@cache
def _mathml(tex: str, block: bool) -> str:
    spaced = re.sub(r"\\ln\s+(?=\w)", r"\\ln \\, ", tex)
    found = convert(spaced, display="block" if block else "inline")
    if "\\" in re.sub(r"&#x[0-9A-F]+;", "", re.sub(r"<[^>]*>", "", found)):
        raise ValueError(f"formula not understood: {tex}")
    return f'<div class="formula">{found}</div>' if block else found


def typeset_site(site: Path) -> int:
    """Typeset every page of a site, and leave the words of formulas out of its search index; how many there were."""
    count = 0
    for file in site.rglob("*.html"):
        page = file.read_text(encoding="utf-8")
        count += len(SPAN.findall(page))
        file.write_text(typeset(page), encoding="utf-8")
    for index in site.rglob("search*.json"):
        words = json.loads(index.read_text(encoding="utf-8"))
        for item in words.get("items", words.get("docs", [])):
            item["text"] = TEX.sub(" ", item.get("text", ""))
        index.write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
    return count
