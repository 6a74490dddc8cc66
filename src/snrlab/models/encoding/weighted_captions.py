r"""Word weights in captions, in the notation of A1111 and kohya.

(word)      1.1 times the weight          (word:1.3)  1.3 times the weight
[word]      divided by 1.1                \(  \[      the bracket itself

Nested brackets multiply; an unclosed bracket reaches to the end.
"""

from __future__ import annotations

import re
from itertools import groupby

STEP = 1.1
_MARKS = re.compile(r"\\[()\[\]\\]?|[()\[\]]|:[+-]?(?:\d+\.?\d*|\.\d+)\)|[^\\()\[\]:]+|:")


def weighted_words(caption: str) -> list[tuple[str, float]]:
    r"""Split a caption into texts and their weights.

    >>> weighted_words("a (red:1.5) hat")
    [('a ', 1.0), ('red', 1.5), (' hat', 1.0)]
    >>> weighted_words(r"smile :\)")
    [('smile :)', 1.0)]
    """
    texts: list[str] = []
    weights: list[float] = []
    open_brackets: dict[str, list[int]] = {"(": [], "[": []}  # index of the first text inside each open bracket

    def close(bracket: str, factor: float) -> None:
        for index in range(open_brackets[bracket].pop(), len(weights)):
            weights[index] *= factor

    for match in _MARKS.finditer(caption):
        mark = match[0]
        if mark in open_brackets:
            open_brackets[mark].append(len(texts))
        elif mark == ")" and open_brackets["("]:
            close("(", STEP)
        elif mark == "]" and open_brackets["["]:
            close("[", 1 / STEP)
        elif mark[0] == ":" and mark[-1] == ")" and open_brackets["("]:
            close("(", float(mark[1:-1]))
        else:
            texts.append(mark[1:] if mark[0] == "\\" else mark)
            weights.append(1.0)
    for bracket, factor in (("(", STEP), ("[", 1 / STEP)):
        while open_brackets[bracket]:
            close(bracket, factor)
    runs = groupby(zip(texts, weights, strict=True), key=lambda pair: pair[1])
    return [("".join(text for text, _ in run), weight) for weight, run in runs] or [("", 1.0)]
