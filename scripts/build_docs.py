"""The documentation: reference pages in docs/, and the site.

python scripts/build_docs.py            # writes docs/run-file.md, docs/strategies.md and more, docs/error-codes.md
python scripts/build_docs.py --site     # builds build/site too; fails for a stale number, a dead link, a missing entry
python scripts/build_docs.py --write    # puts in the numbers, outputs and pictures that are right
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from documentation import checked, pictures, reference
from documentation.problems import DocumentationError, Problems

from snrlab.core.registries.registry import load_plugins

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def pages() -> dict[str, str]:
    """The reference pages that are kept in docs/, by file name."""
    return reference.pages()


def write_pages() -> None:
    """Write them; a page of a kind that is no more goes."""
    wanted = pages()
    for file, text in wanted.items():
        (DOCS / file).parent.mkdir(exist_ok=True)
        (DOCS / file).write_text(text, encoding="utf-8")
        print(f"wrote docs/{file}")
    for old in set((DOCS / "strategies").glob("*.md")) - {DOCS / name for name in wanted}:
        old.unlink()


def refresh() -> None:
    """Put the right numbers, outputs and pictures into every page; pictures that no page shows go."""
    generated, shown = {DOCS / name for name in pages()}, set()
    for file in sorted({ROOT / "README.md", *DOCS.rglob("*.md")} - generated):
        problems, text, page = Problems(), file.read_text(encoding="utf-8"), file.relative_to(ROOT)
        right = checked.check(text, str(page), problems, commands=file.parent.name == "guide")
        right = pictures.write(right, page, ROOT, problems)
        shown |= set(pictures.names(right))
        if right != text:
            file.write_text(right, encoding="utf-8")
        for problem in problems.messages:
            print(problem)
    for old in (ROOT / pictures.FOLDER).iterdir():
        if old.name not in shown:
            old.unlink()


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", action="store_true", help="build the site")
    parser.add_argument("--write", action="store_true", help="refresh numbers, outputs and pictures")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="folder of the site")
    options = parser.parse_args()
    load_plugins()
    write_pages()
    if options.write:
        refresh()
    if options.site:
        from documentation import site

        start = time.perf_counter()
        try:
            count = site.build(ROOT, options.out)
        except DocumentationError as reason:
            raise SystemExit(f"{reason}") from None
        print(f"built {count} pages in {time.perf_counter() - start:.0f} s: {options.out / 'index.html'}")


if __name__ == "__main__":
    main()
