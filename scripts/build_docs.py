"""The documentation: reference pages in docs/, and the site.

python scripts/build_docs.py            # writes docs/run-file.md, docs/strategies.md and docs/error-codes.md
python scripts/build_docs.py --site     # builds build/site too; fails for a stale number, a dead link, a missing entry
python scripts/build_docs.py --write    # puts what is right in the place of stale numbers and outputs
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from documentation import checked, reference
from documentation.problems import DocumentationError, Problems

from snrlab.core.registries.registry import load_plugins

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def pages() -> dict[str, str]:
    """The reference pages that are kept in docs/, by file name."""
    return dict(
        zip(reference.PAGES, (reference.run_file(), reference.strategies(), reference.error_codes()), strict=True)
    )


def write_pages() -> None:
    """Write them."""
    for file, text in pages().items():
        (DOCS / file).write_text(text, encoding="utf-8")
        print(f"wrote docs/{file}")


def refresh() -> None:
    """Put what is right into every page with computed numbers or outputs."""
    for file in sorted(set(DOCS.rglob("*.md")) - {DOCS / name for name in reference.PAGES}):
        problems, text = Problems(), file.read_text(encoding="utf-8")
        right = checked.check(text, str(file.relative_to(ROOT)), problems, commands=file.parent.name == "guide")
        if right != text:
            file.write_text(right, encoding="utf-8")
        for problem in problems.messages:
            print(problem)


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", action="store_true", help="build the site")
    parser.add_argument("--write", action="store_true", help="refresh numbers and outputs")
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
