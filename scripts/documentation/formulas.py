"""Formulas as MathML, which browsers typeset by themselves: no script, no font, nothing from elsewhere."""

from __future__ import annotations

import html
import json
import re
from functools import cache
from pathlib import Path

from latex2mathml.converter import convert

SPAN = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.S)
# what holds no words of a page: code, and every tag but the end of a formula, which is looked at
VERBATIM = re.compile(r"(<(?:pre|code|script|style)\b.*?</(?:pre|code|script|style)>|<[^>]*>(?<!</math>))", re.S)
TEX = re.compile(r"\\[(\[](.*?)\\[)\]]", re.S)


def typeset(page: str) -> str:
    """The HTML page with MathML in the place of TeX."""
    return SPAN.sub(lambda m: _mathml(html.unescape(TEX.sub(r"\1", m[2])).strip(), m[1] == "div"), page)


def kept_together(page: str) -> str:
    """The page without line breaks between a number and its per cent, or around the = after a letter.

    >>> kept_together("<p>58 % of</p><pre>58 %</pre>")
    '<p>58&nbsp;% of</p><pre>58 %</pre>'
    """
    parts = VERBATIM.split(page)  # text, what stays as it is, text, ...
    parts[::2] = [re.sub(r"(</math>|\d) (=|%)( ?)", _unbroken, part) for part in parts[::2]]
    return "".join(parts)


def plain(text: str) -> str:
    r"""Text with its formulas as letters, for a title that cannot be typeset.

    >>> plain(r"What \(x\) is")
    'What x is'
    """
    return TEX.sub(lambda m: html.unescape(re.sub(r"<[^>]*>", "", _mathml(m[1].strip(), False))), text)


def _unbroken(match: re.Match[str]) -> str:
    after = "&nbsp;" if match[2] == "=" and match[3] else match[3]
    return f"{match[1]}&nbsp;{match[2]}{after}"


@cache
def _mathml(tex: str, block: bool) -> str:
    spaced = re.sub(r"\\ln\s+(?=\w)", r"\\ln \\, ", tex)
    mathml = convert(spaced, display="block" if block else "inline")
    if "\\" in re.sub(r"&#x[0-9A-F]+;", "", re.sub(r"<[^>]*>", "", mathml)):
        raise ValueError(f"formula not understood: {tex}")
    return f'<div class="formula">{mathml}</div>' if block else mathml


def typeset_site(site: Path) -> int:
    """Typeset every page of a site, and leave the words of formulas out of its search index; how many there were."""
    count = 0
    for file in site.rglob("*.html"):
        page = file.read_text(encoding="utf-8")
        count += len(SPAN.findall(page))
        file.write_text(kept_together(typeset(page)), encoding="utf-8")
    for index in site.rglob("search*.json"):
        words = json.loads(index.read_text(encoding="utf-8"))
        for item in words.get("items", words.get("docs", [])):
            item["text"] = TEX.sub(" ", item.get("text", ""))
            item["title"] = plain(item.get("title", ""))
        index.write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
    return count
