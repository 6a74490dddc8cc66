"""Every string that a user may read: help, errors, findings, messages, texts of tables and presets.

python scripts/user_strings.py                       # kind, place, string; tab-separated
python scripts/user_strings.py --sample 100 --seed 1 # a random hundred of them, to be read by somebody else
python scripts/user_strings.py --long 30             # those with a sentence of more words
python scripts/user_strings.py --banned              # those with a word that is not to be used
python scripts/user_strings.py --mended              # takes what was mended out of tests/words_to_mend.txt
"""

from __future__ import annotations

import argparse
import ast
import csv
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "snrlab"
EXCEPTIONS = ROOT / "tests" / "words_to_mend.txt"
BANNED = ("passes over", "of other things", "learnt", "told", "is of")
BANNED_WORDS = re.compile(rf"\b({'|'.join(BANNED)})\b")
WORD = re.compile(r"[A-Za-z][a-z']+")
SENTENCE = re.compile(r"(?<=[.:;?!])\s+|\n")
PROSE = 3  # words that make a string one to be read
CALLS = {"UserError": "error", "Finding": "finding", "Option": "help", "Argument": "help", "Typer": "help",
         "Field": "field", "field": "field", "print": "message", "log": "message", "warn": "message"}  # fmt: skip
HOLE = "{}"


@dataclass(frozen=True)
class UserString:
    """A string with its kind and its place.

    Attributes:
        kind: error, finding, help, field, message, docstring, table or preset.
        place: file and line, relative to the checkout.
        text: the words, with {} where something is put in.
    """

    kind: str
    place: str
    text: str

    @property
    def banned(self) -> bool:
        """Whether it has a word that is not to be used."""
        return bool(BANNED_WORDS.search(self.text))

    def longest(self) -> int:
        """Words of its longest sentence."""
        return max(len(sentence.split()) for sentence in SENTENCE.split(self.text))


def user_strings() -> list[UserString]:
    """All of them, by place."""
    strings: list[UserString] = []
    for file in sorted(SOURCE.rglob("*")):
        if file.suffix == ".py":
            strings += of_python(file)
        elif file.suffix == ".csv":
            strings += of_table(file)
        elif file.suffix == ".toml":
            strings += of_preset(file)
    return strings


def of_python(file: Path) -> Iterator[UserString]:
    """The prose of a module: what calls are given, and the docstrings that become help and reference."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds, inner, docstrings = {}, set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            for child in (c for argument in [*node.args, *node.keywords] for c in ast.walk(argument)):
                kinds[child] = CALLS.get(name, kinds.get(child, "message"))
        if isinstance(node, ast.JoinedStr):
            inner |= {child for child in ast.walk(node) if child is not node}
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings[first.value] = isinstance(node, ast.FunctionDef) and bool(node.decorator_list)
    for node in ast.walk(tree):
        if node in inner or not isinstance(node, ast.Constant | ast.JoinedStr):
            continue
        if node in docstrings and not docstrings[node]:
            continue
        text = _text(node).partition(">>>")[0]
        if _is_prose(text):
            kind = "docstring" if node in docstrings else kinds.get(node, "message")
            yield UserString(kind, f"{file.relative_to(ROOT)}:{node.lineno}", " ".join(text.split()))


def of_table(file: Path) -> Iterator[UserString]:
    """The cells of a table that hold prose."""
    with file.open(encoding="utf-8", newline="") as rows:
        for number, row in enumerate(csv.reader(rows), 1):
            yield from (UserString("table", f"{file.relative_to(ROOT)}:{number}", c) for c in row if _is_prose(c))


def of_preset(file: Path) -> Iterator[UserString]:
    """The comments of a preset, which `init` writes into a run file."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        comment = line.partition("#")[2].strip()
        if _is_prose(comment):
            yield UserString("preset", f"{file.relative_to(ROOT)}:{number}", comment)


def exceptions() -> set[str]:
    """Strings with a banned word that are still to be mended."""
    return set(EXCEPTIONS.read_text(encoding="utf-8").splitlines()) - {""}


def _text(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)


def _is_prose(text: str) -> bool:
    return " " in text.strip() and len(WORD.findall(text)) >= PROSE


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="so many of them, at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--long", type=int, help="only those with a sentence of more words")
    parser.add_argument("--banned", action="store_true", help="only those with a banned word")
    parser.add_argument("--mended", action="store_true", help="shorten the list of what is to be mended")
    options = parser.parse_args()
    strings = user_strings()
    if options.mended:
        left = exceptions() & {s.text for s in strings if s.banned}
        EXCEPTIONS.write_text("".join(f"{text}\n" for text in sorted(left)), encoding="utf-8")
        return
    if options.banned:
        strings = [s for s in strings if s.banned]
    if options.long:
        strings = [s for s in strings if s.longest() > options.long]
    if options.sample:
        strings = random.Random(options.seed).sample(strings, min(options.sample, len(strings)))
    for string in strings:
        print(f"{string.kind}\t{string.place}\t{string.text}")


if __name__ == "__main__":
    main()
