"""The site: pages staged with their pictures, built by Zensical, typeset, then checked."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from documentation import (
    api,
    checked,
    commands,
    coverage,
    curves,
    formulas,
    links,
    pictures,
    reference,
    tables,
    trainers,
)
from documentation.problems import DocumentationError, Problems
from snrlab.core.registries.registry import Entry
from snrlab.lab.figures.page import page
from snrlab.lab.recipe_text import parse_recipe
from snrlab.lab.tables import describe

HERE = Path(__file__).parent
FIXTURES = Path("tests") / "parity" / "peers"
# the order of what there is; a page that is not named here comes after its section's others
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "SNR from first principles": ("guide/",),
    "How to": ("first-lora.md", "lab.md", "import.md", "safety.md", "scale.md", "small-model.md"),
    "Reference": (
        "words.md",
        "strategies.md",
        "trainers.md",
        "run-file.md",
        "commands.md",
        "error-codes.md",
        "python.md",
    ),
    "Inside": ("architecture.md", "decisions/"),
}
INTERACTIVE = (
    "Plain = plain", "Min-SNR-5 = min_snr", "Soft-Min-SNR-5 = soft_min_snr", "P2 = p2", "Debiased = debiased",
)  # fmt: skip
TITLE = re.compile(r"^# (.+)$", re.M)
FOLDED = re.compile(r"^```console fold\n(\$ .*?)^```$", re.S | re.M)


def build(root: Path, out: Path) -> int:
    """Build the site of the checkout `root` into `out`; the number of pages.

    Raises:
        DocumentationError: a stale number, a dead link, an entry or symbol that no page has.
    """
    stage = root / "build" / "documentation"
    shutil.rmtree(stage, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    docs = stage / "docs"
    assets = docs / "assets"
    assets.mkdir(parents=True)
    shutil.copy(HERE / "site.css", assets)
    problems = Problems()
    pages = collect(root, assets, problems)
    for name, text in pages.items():
        file = docs / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dressed(name, text, assets, problems), encoding="utf-8")
    (assets / "curves.html").write_text(interactive(), encoding="utf-8")
    for other in (f for f in (root / "docs").rglob("*") if f.is_file() and f.suffix != ".md"):  # pictures, logs
        place = docs / other.relative_to(root / "docs")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(other, place)
    config = (HERE / "zensical.toml").read_text(encoding="utf-8")
    head, marker, rest = config.partition("[project.theme]")
    where = f'site_dir = "site"\nnav = {navigation(pages)}\n\n'
    (stage / "zensical.toml").write_text(head + where + marker + rest, encoding="utf-8")
    zensical(stage)
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(stage / "site", out)
    formulas.typeset_site(out)
    tables.card_site(out)
    links.check(out, problems)
    links.check_sources(root, problems)
    coverage.check(out, problems)
    problems.raise_if_any()
    return len(pages)


def collect(root: Path, assets: Path, problems: Problems) -> dict[str, str]:
    """Every page by its path: what is written, its numbers checked, and what is generated."""
    pages: dict[str, str] = {}
    for file in sorted((root / "docs").rglob("*.md")):
        name = file.relative_to(root / "docs").as_posix()
        if name in reference.PAGES:
            continue
        text = file.read_text(encoding="utf-8")
        right = checked.check(text, f"docs/{name}", problems, commands=name.startswith("guide/"))
        pages[name] = checked.strip(right)

    def illustrated(entry: Entry) -> str:
        light = curves.picture(entry)
        if not light:
            return ""
        alt = f"{entry.kind.replace('_', ' ')} {entry.name}"
        return pictures.as_figure(light, alt, "", assets, 0)

    def figure(light: str, alt: str, caption: str) -> str:
        return pictures.as_figure(light, alt, caption, assets, 0)

    pages["strategies.md"] = reference.strategies(illustrated)
    pages["run-file.md"] = reference.run_file()
    pages["error-codes.md"] = reference.error_codes()
    pages["python.md"] = api.page()
    pages["commands.md"] = commands.page()
    if cases := trainers.cases(root / FIXTURES):
        pages["trainers.md"] = trainers.page(cases, figure)
    else:
        problems.add(FIXTURES.as_posix(), "there are no fixtures to say what trainers compute")
    return pages


def dressed(name: str, text: str, assets: Path, problems: Problems) -> str:
    """A page as Zensical takes it: plot blocks drawn, long outputs folded, links out of docs/ made into names."""
    text = pictures.put_in(text, f"docs/{name}", assets, name.count("/"), problems)
    text = FOLDED.sub(_folded, text)
    return re.sub(
        r"\[([^\]]+)\]\((?:\.\./)+((?:src|tests|scripts|configs)/[^)]*|[A-Z]+(?:\.md)?)\)", r"\1 (`\2`)", text
    )


def interactive() -> str:
    """The well-known weightings as a page of the lab's: values under the pointer, zoom, lines that hide."""
    recipes = dict(map(parse_recipe, INTERACTIVE))
    return page({label: (describe(r), r.tables()) for label, r in recipes.items()}, ["weight", "emphasis", "snr"])


def navigation(pages: Mapping[str, str]) -> str:
    """The navigation as TOML, of the pages that are there."""
    left = [name for name in sorted(pages) if name != "index.md"]
    lines = ['{ "Start" = "index.md" }'] if "index.md" in pages else []
    for title, wanted in SECTIONS.items():
        section: list[str] = []
        for place in wanted:
            section += [n for n in left if n == place or (place.endswith("/") and n.startswith(place))]
        if title == "How to":
            known = {n for names in SECTIONS.values() for n in names}
            section += [n for n in left if "/" not in n and n not in known]
        left = [n for n in left if n not in section]
        if section:
            items = ", ".join(f'{{ "{_title(pages[n], n)}" = "{n}" }}' for n in section)
            lines.append(f'{{ "{title}" = [{items}] }}')
    return "[\n  " + ",\n  ".join(lines) + ",\n]"


def zensical(stage: Path) -> None:
    """Run Zensical in the staged folder; what it warns of is an error."""
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", "zensical.toml"]
    done = subprocess.run(command, cwd=stage, capture_output=True, text=True)
    if done.returncode != 0:
        raise DocumentationError(f"zensical: {done.stdout}{done.stderr}")


def _folded(match: re.Match[str]) -> str:
    """A block that a reader opens, under its first command."""
    command = match[1].partition("\n")[0].removeprefix("$ ")
    summary = f"<summary><code>{html.escape(command)}</code></summary>"
    opened = f"```console\n{match[1]}```"
    return f'<details class="output" markdown="1">{summary}\n\n{opened}\n\n</details>'


def _title(text: str, name: str) -> str:
    match = TITLE.search(re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    return (match[1] if match else name).replace("`", "").replace('"', "'").partition(" {")[0]
