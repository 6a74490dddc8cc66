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
    offline,
    pictures,
    reference,
    tables,
    touch,
    trainers,
)
from documentation.problems import DocumentationError, Problems
from snrlab.core.registries.registry import Entry

HERE = Path(__file__).parent
# the order of what there is; a page that is not named here comes after its section's others
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "SNR from first principles": ("guide/",),
    "How to": ("first-lora.md", "lab.md", "studies.md", "import.md", "safety.md", "scale.md", "small-model.md"),
    "Reference": (
        "words.md",
        "strategies.md",
        "strategies/",
        "trainers.md",
        "run-file.md",
        "commands.md",
        "error-codes.md",
        "python.md",
    ),
    "Inside": ("architecture.md", "promises.md", "decisions/"),
}
TITLE = re.compile(r"^# (.+)$", re.M)
TOUCH = re.compile(r"^<!-- curves to touch: (.*?) -->\n\n\*[^*]+\*$", re.M)  # and what the repository shows there
FRAME = '<iframe class="touch" src="{up}assets/curves.html" title="{title}" loading="lazy"></iframe>'
FOLD = re.compile(r"^<details>$", re.M)  # GitHub reads Markdown in it, the site is to do so too
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
        file.write_text(dressed(name, text), encoding="utf-8")
    (assets / "curves.html").write_text(touch.page(), encoding="utf-8")
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
    offline.embed(out, problems)
    tables.card_site(out)
    links.check(out, problems)
    links.check_sources(root, problems)
    coverage.check(out, problems)
    problems.raise_if_any()
    return len(pages)


def collect(root: Path, assets: Path, problems: Problems) -> dict[str, str]:
    """Every page by its path: what is written, its numbers checked, and what is generated."""
    pages: dict[str, str] = {}
    pictures.check((root / "README.md").read_text(encoding="utf-8"), Path("README.md"), root, problems)
    generated = reference.pages()
    for file in sorted((root / "docs").rglob("*.md")):
        name = file.relative_to(root / "docs").as_posix()
        if name in generated:
            continue
        text = file.read_text(encoding="utf-8")
        right = checked.check(text, f"docs/{name}", problems, commands=name.startswith("guide/"))
        pictures.check(text, file.relative_to(root), root, problems)
        pages[name] = checked.strip(right)

    def illustrated(entry: Entry) -> str:
        light = curves.picture(entry)
        if not light:
            return ""
        alt = f"{entry.kind.replace('_', ' ')} {entry.name}"
        return pictures.svg_figure(light, alt, "", assets, 1)

    def figure(light: str, alt: str, caption: str) -> str:
        return pictures.svg_figure(light, alt, caption, assets, 0)

    pages.update(reference.strategies(illustrated))
    pages["run-file.md"] = reference.run_file()
    pages["error-codes.md"] = reference.error_codes()
    pages["python.md"] = api.page()
    pages["commands.md"] = commands.page()
    pages["trainers.md"] = trainers.page(trainers.cases(reference.FIXTURES), figure)
    return pages


def dressed(name: str, text: str) -> str:
    """A page as Zensical takes it: pictures in both modes, the curves to touch, links out of docs/ made into names."""
    depth = name.count("/")
    text = pictures.put_in(text, depth)
    text = TOUCH.sub(lambda match: FRAME.format(up="../" * depth, title=html.escape(match[1], quote=True)), text)
    text = FOLD.sub(r'<details class="fold" markdown="1">', FOLDED.sub(_folded, text))
    return re.sub(
        r"\[([^\]]+)\]\((?:\.\./)+((?:src|tests|scripts|configs)/[^)]*|[A-Z]+(?:\.md)?)\)", r"\1 (`\2`)", text
    )


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
