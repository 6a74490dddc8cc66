"""The documentation holds: its numbers, its formulas, its pages; and what would break it is found."""

import importlib
import sys
from pathlib import Path

import pytest

from snrlab.core.registries.registry import Registry
from snrlab.core.weights.weighting import WeightingProperties

ROOT = Path(__file__).parent.parent
PAGES = sorted({*(ROOT / "docs" / "guide").glob("*.md"), *(ROOT / "docs").glob("*.md")})
sys.path.insert(0, str(ROOT / "scripts"))
from documentation import (  # noqa: E402
    api,
    checked,
    commands,
    coverage,
    links,
    offline,
    pictures,
    reference,
    site,
    tables,
    touch,
    trainers,
)
from documentation.problems import Problems  # noqa: E402

GENERATED = {ROOT / "docs" / name for name in reference.pages()}


@pytest.mark.parametrize("page", [p for p in PAGES if p not in GENERATED], ids=lambda p: p.stem)
def test_numbers_outputs_and_examples_are_true(page):
    problems, text = Problems(), page.read_text()
    assert checked.check(text, page.name, problems, commands=page.parent.name == "guide") == text
    assert problems.messages == []


def test_the_guide_computes_its_numbers():
    expressions = [e for p in (ROOT / "docs" / "guide").glob("*.md") for e in checked.expressions(p.read_text())]
    assert len(expressions) > 60


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ('3.03<!--= tables("debiased").mean_weight -->', '3.02<!--= tables("debiased").mean_weight -->'),
        ("1,176<!--= sd.snr[0] -->", "1,175<!--= sd.snr[0] -->"),
        ("-2.1<!--= -2 * np.log(3) -->", "-2.2<!--= -2 * np.log(3) -->"),
        ("2e-7<!--= zero.snr[998] * 10 -->", "2e-6<!--= zero.snr[998] * 10 -->"),
    ],
)
def test_a_stale_number_is_found_and_put_right(written, right):
    problems = Problems()
    assert checked.check(f"It is {written}.", "page.md", problems) == f"It is {right}."
    assert problems.messages[0].startswith(f"page.md:1: {written.partition('<')[0]} is stale")
    assert checked.strip(right) == right.partition("<")[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("one<!--= 1 -->", "without a number"),
        ("1<!--= nothing -->", "does not compute"),
        ("```console\n$ snrlab table --at 999\n14.6\n```", "prints something else"),
        ("```python\n>>> 1 + 1\n3\n\n```", "does not hold"),
        ("<!-- plot: x\nsnrlab plot min_snrr\n-->\n\n*x*", "x is not shown"),
    ],
)
def test_what_does_not_hold_is_found(text, fault, tmp_path):
    problems = Problems()
    pictures.check(checked.check(text, "page.md", problems), Path("page.md"), tmp_path, problems)
    assert len(problems.messages) == 1
    assert fault in problems.messages[0]


def test_a_stale_output_is_put_right():
    problems = Problems()
    right = checked.check("```console\n$ snrlab table --weighting debiased --at 999\nold\n```", "p", problems)
    assert "14.61" in right
    again = Problems()
    assert checked.check(right, "p", again) == right
    assert again.messages == []


def test_a_command_that_fails_shows_its_message():
    shown = checked.run("snrlab table --weighting min_snrr")
    assert shown.startswith("snrlab: error[unknown-name]: weighting: 'min_snrr' is not known. Did you mean")


def test_dead_links_anchors_and_what_comes_from_elsewhere_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<h2 id="here">x</h2><a href="#here"></a><a href="b.html#there"></a><a href="c.html"></a><img src="d.png">'
        '<script src="https://example.org/x.js"></script><a href="https://example.org">fine</a>'
    )
    (tmp_path / "b.html").write_text("<p>")
    (tmp_path / "s.css").write_text("a { background: url(https://example.org/font.woff) }")
    problems = Problems()
    links.check(tmp_path, problems)
    assert [p.partition(": ")[2].split(" ")[0].strip(":") for p in problems.messages] == [
        "b.html#there", "c.html", "d.png", "loads", "loads",
    ]  # fmt: skip


def test_links_of_the_repository_lead_somewhere():
    problems = Problems()
    links.check_sources(ROOT, problems)
    assert problems.messages == []


def test_every_entry_symbol_and_command_has_a_place():
    pages, python, line = reference.strategies(), api.page(), commands.page()
    for registry in coverage.registries().values():
        text = pages[reference.kind_page(registry.kind)]
        for entry in registry.values():
            assert f'<a id="{reference.anchor(entry)}"></a>' in text
            assert list(coverage.lacks(entry)) == []
    assert [a for a in api.wanted() if f"#{a} }}" not in python] == []
    assert [n for n in commands.commands() if f"#{commands.anchor(n)} }}" not in line] == []
    assert list(coverage.undocumented()) == []
    assert "snrlab.core.schedule.zero_terminal_snr" in api.wanted()


def test_the_gate_notices_what_is_missing(tmp_path):
    registry = Registry("weighting", properties=WeightingProperties)

    def bare(log_snr):
        """Something without a formula, a source or an example."""

    registry.register(paper="")(bare)
    assert len(list(coverage.lacks(registry["bare"]))) == 3
    for page in ("python.html", "commands.html", "run-file.html"):
        (tmp_path / page).write_text("")
    problems = Problems()
    coverage.check(tmp_path, problems)
    missing = "\n".join(problems.messages)
    for name in ("weighting-min-snr", "snrlab.Recipe", "snrlab-plot", "recipe.min_weight"):
        assert f"{name} is missing" in missing


def test_dark_pictures_are_the_light_ones_in_other_colours():
    assert pictures.in_the_dark("fill: #0072b2; stroke: #FFFFFF") == "fill: #56b4e9; stroke: #17181c"


def test_formulas_are_typeset_without_a_script():
    converter = importlib.import_module("documentation.formulas")
    page = converter.typeset(r'<p><span class="arithmatex">\(\frac{1}{\sqrt{S}} &lt; 1\)</span></p>')
    assert "<mfrac>" in page
    assert "arithmatex" not in page
    together = converter.kept_together("<p><math>t</math> = 353: 58 % of it</p><pre>t = 5 %</pre>")
    assert together == "<p><math>t</math>&nbsp;=&nbsp;353: 58&nbsp;% of it</p><pre>t = 5 %</pre>"
    with pytest.raises(ValueError, match="not understood"):
        converter.typeset(r'<span class="arithmatex">\(\nonsense{S}\)</span>')


def test_a_table_of_words_knows_its_headings_in_each_cell():
    table = '<table><tr><th>t</th><th>what <code>it</code> is</th></tr><tr><td>1</td><td class="a">{}</td></tr></table>'
    assert tables.carded(table.format("0.5")) == table.format("0.5")
    carded = tables.carded(table.format("more words than a column of a telephone holds"))
    assert carded.startswith("<table data-cards>")
    assert '<td class="a" data-heading="what it is">more words' in carded


def test_a_folded_output_is_checked_and_opens_under_its_command():
    page = "```console fold\n$ snrlab table --at 999 --weighting min_snr\nold\n```\n"
    right = checked.check(page, "p", Problems())
    assert right.startswith("```console fold\n$ snrlab table")
    assert "0.004682" in right
    shown = site.dressed("p.md", right)
    assert "<summary><code>snrlab table --at 999 --weighting min_snr</code></summary>" in shown
    assert "```console\n$ snrlab table" in shown


def test_navigation_takes_every_page_that_is_there():
    pages = {
        "index.md": "# x",
        "guide/01-a.md": "# First",
        "later.md": "# Later",
        "python.md": "# P",
        "decisions/1.md": "# D",
    }
    shown = site.navigation(pages)
    assert all(f'"{name}"' in shown for name in pages)
    assert shown.index("guide/01-a.md") < shown.index("later.md") < shown.index("python.md")


def test_what_trainers_compute_comes_from_the_fixtures():
    cases = trainers.cases(ROOT / "tests" / "parity" / "peers")
    text = trainers.page(cases, lambda svg, alt, caption: f"[picture of {alt}]")
    for name, case in cases.items():
        assert f"{case['repository']}/blob/{case['commit']}/{case['file']}" in text
        assert (f"(#{trainers.anchor(name)})" in text) == (not case["agrees"])
    assert "| 999 | 0.9953 | 0.06811 |" in text, "kohya's Debiased on v"
    first = text[text.index("## What is not as meant") : text.index("\n## ", text.index("## What is not as meant") + 1)]
    assert first.count("](#case-") == sum(not case["agrees"] for case in cases.values())
    assert "At t = 0: 0.000999 instead of 0.02914." in first


@pytest.mark.long
@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda p: p.stem)
def test_pictures_show_what_their_directives_say(page):
    problems = Problems()
    pictures.check(page.read_text(encoding="utf-8"), page.relative_to(ROOT), ROOT, problems)
    assert problems.messages == [], "run make docs-write"


def test_every_picture_of_the_guide_is_shown_and_they_are_small():
    files = list((ROOT / pictures.FOLDER).iterdir())
    shown = {name for page in (ROOT / "README.md", *PAGES) for name in pictures.names(page.read_text(encoding="utf-8"))}
    assert {file.name for file in files} == shown
    assert sum(file.stat().st_size for file in files) < 3_500_000


def test_a_picture_is_drawn_once_and_again_when_its_numbers_change(tmp_path):
    page, text = (
        Path("docs") / "p.md",
        "<!-- plot: a\nsnrlab plot min_snr:gamma=5 --show weight\n-->\n\n*A curve. More.*\n",
    )
    written = pictures.write(text, page, tmp_path, Problems())
    assert 'alt="A curve." width=' in written
    assert 'srcset="../docs/images/guide/a-dark.png"' in written
    assert pictures.write(written, page, tmp_path, Problems()) == written
    fresh, stale = Problems(), Problems()
    pictures.check(written, page, tmp_path, fresh)
    pictures.check(written.replace("gamma=5", "gamma=6"), page, tmp_path, stale)
    assert fresh.messages == []
    assert "a-light.png is stale" in stale.messages[0]


def test_the_site_shows_both_modes_of_a_picture_and_the_curves_to_touch():
    text = (ROOT / "docs" / "guide" / "03-weights.md").read_text(encoding="utf-8")
    shown = site.dressed("guide/03-weights.md", text)
    assert '<a class="only-dark" href="../images/guide/gammas-dark.png">' in shown
    assert '<iframe class="touch" src="../assets/curves.html"' in shown
    assert "<picture>" not in shown
    assert "has a graph with a slider" not in shown


def test_the_curves_to_touch_are_the_recipes_tables():
    data = touch.data()
    gamma = data["gammas"].index(20)
    weight = data["curves"][data["names"].index("Min-SNR")][gamma]["weight"]
    at = data["t"].index(min(data["t"], key=lambda t: abs(t - 30)))
    expected = checked.tables("min_snr:gamma=20").weight[data["t"][at]]
    assert weight[at] == pytest.approx(expected, rel=1e-3)
    assert len({len(curve["share"]) for curves in data["curves"] for curve in curves} | {len(data["x"])}) == 1


def test_a_site_of_files_has_its_search_in_a_script(tmp_path):
    (tmp_path / "guide").mkdir()
    (tmp_path / "search.json").write_text('{"items": [{"title": "</script>"}]}')
    (tmp_path / "worker.js").write_text("onmessage = 1;")
    page = (
        '<script id="__config">{{"search":"{up}worker.js"}}</script><script src="{up}assets/bundle.1.min.js"></script>'
    )
    (tmp_path / "a.html").write_text(page.format(up=""))
    (tmp_path / "guide" / "b.html").write_text(page.format(up="../"))
    problems = Problems()
    offline.embed(tmp_path, problems)
    assert problems.messages == []
    script = (tmp_path / "search.js").read_text()
    assert script.startswith("var __index = {")
    assert "</script>" not in script
    assert "onmessage = 1;" in script
    nested = (tmp_path / "guide" / "b.html").read_text()
    assert nested.index('src="../search.js"') < nested.index("bundle")
    (tmp_path / "a.html").write_text(page.format(up="").replace("bundle", "other"))
    offline.embed(tmp_path, problems)
    assert "does not load" in problems.messages[0]


def test_a_title_in_the_search_has_letters_for_its_formulas():
    title = importlib.import_module("documentation.formulas").plain(r"What \(\gamma\) is")
    assert title == "What \N{GREEK SMALL LETTER GAMMA} is"
