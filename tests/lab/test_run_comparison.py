"""Runs compared: the verdict in constructed cases, what may not be compared, seeds as arms, and the page."""

import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import tiny
from snrlab.config import dump, parse_run
from snrlab.core.bands import BANDS
from snrlab.core.errors import UserError
from snrlab.core.findings.finding import Finding
from snrlab.lab.asset_files import read_asset
from snrlab.lab.blocks import BulletList, Code, Heading, Lead, NumberedList, TableBlock, to_text
from snrlab.lab.run_comparison.picture_table import PictureRow, PictureTable, PictureView
from snrlab.lab.run_comparison.run_comparison import compare_runs
from snrlab.lab.run_comparison.run_page import render_runs
from snrlab.lab.run_comparison.run_text import run_blocks
from snrlab.lab.run_comparison.verdict import LUCK, ONLY_SEED
from snrlab.lab.statistics import t_interval, t_quantile, welch_interval

IMAGES = 30
LEVEL = np.array([0.9, 0.5, 0.25, 0.04])  # a usual loss in each band


@pytest.fixture
def make(tmp_path):
    """A run folder whose held-out losses are `change` times those of every other, give or take `noise`."""

    def write(name, change=(0.0,) * 4, *, noise=0.01, seed=1, steps=(0, 100), images=IMAGES, prefix="img",
              unfinished=False, picture="p", model=None, **sections):  # fmt: skip
        model = model or {"shipped": "small"}
        data = {"shipped": "ink", "resolution": 64, **sections.pop("data", {})}
        table = {"name": name, "seed": seed, "model": model, "data": data, "train": {"steps": 100}, **sections}
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.toml").write_text(dump(parse_run(table)), encoding="utf-8")
        names = [f"{prefix}{i}.png" for i in range(images)]
        held = [{"name": n, "picture": picture + n, "text": "t"} for n in names]
        (folder / "sources.json").write_text(json.dumps({"images": [], "held_back": held, "model": {}}))
        per_image = np.random.default_rng(seed).lognormal(0, 0.3, images)  # images differ far more than runs do
        own = np.random.default_rng(zlib.crc32(name.encode())).normal(0, noise, (4, images))
        own -= own.mean(1, keepdims=True)  # so that the change is what was asked for
        lines = []
        for step in steps:
            factor = 1 + np.array(change)[:, None] * (step > 0) + own * (step > 0)
            errors = LEVEL[:, None] * per_image * factor * (0.8 if step else 1)
            rows = {band: list(map(float, e)) for band, e in zip(BANDS, errors, strict=True)}
            bands = {band: {"value": float(np.mean(e)), "low": 0, "high": 0} for band, e in rows.items()}
            lines.append(json.dumps({"step": step, "bands": bands, "images": names, "errors": rows}) + "\n")
        if steps:
            (folder / "validation.jsonl").write_text("".join(lines))
        if not unfinished:
            (folder / f"{name}.safetensors").write_bytes(b"")
        return str(folder)

    return write


PLAIN = {"recipe": {"weighting": []}}
DEBIASED = {"recipe": {"weighting": [{"name": "debiased"}]}}


def test_a_clear_difference(make):
    comparison = compare_runs([make("a", **PLAIN), make("b", (-0.05,) * 4, **DEBIASED)])
    verdict = comparison.verdict
    assert (verdict.kind, verdict.best) == ("better", "b")
    assert re.match(r"b is better than a: its held-out loss is [45]\S* (to \S+ )?% lower in every noise band\.",
                    verdict.sentence)  # fmt: skip
    assert verdict.caution == LUCK
    assert comparison.to_train[0].endswith("a/run.toml --set seed=2 --out " + comparison.arms[0].folders[0][:-2])
    assert [b.reading for b in comparison.pairs[0].bands] == ["lower"] * 4
    assert comparison.pairs[0].count == IMAGES


def test_the_first_may_be_the_better_one(make):
    verdict = compare_runs([make("a", **PLAIN), make("b", (0.05, 0, 0, 0), **DEBIASED)]).verdict
    assert verdict.best == "a"
    assert "a is better than b" in verdict.sentence
    assert "1 of 4 noise bands and clearly higher in none" in verdict.sentence


def test_no_difference_that_so_many_pictures_could_show(make):
    comparison = compare_runs([make("a", noise=0.05, **PLAIN), make("b", noise=0.05, **DEBIASED)])
    assert (comparison.verdict.kind, comparison.verdict.best) == ("neither", None)
    assert f"no difference between a and b that {IMAGES} held-out images could show" in comparison.verdict.sentence
    assert comparison.verdict.caution == LUCK


def test_opposite_by_band(make):
    comparison = compare_runs([make("a", **PLAIN), make("b", (-0.05, 0, 0, 0.05), **DEBIASED)])
    assert (comparison.verdict.kind, comparison.verdict.best) == ("opposite", None)
    assert comparison.verdict.sentence == (
        "It depends on the noise level: b has the lower held-out loss at little noise (SNR 5 and more), a at "
        "almost only noise (SNR below 0.1)."
    )


@pytest.mark.parametrize(
    ("code", "of_b"),
    [
        ("no-validation", {"steps": ()}),
        ("other-images", {"prefix": "other"}),
        ("other-images", {"picture": "another"}),
        ("other-model", {"model": {"random": "small"}}),
        ("other-schedule", {"recipe": {"weighting": [], "schedule": {"name": "cosine"}}}),
        ("other-size", {"data": {"resolution": 48}}),
        ("no-common-step", {"unfinished": True, "steps": (0, 30)}),
    ],
)
def test_what_does_not_compare_is_refused_with_its_reason(make, code, of_b):
    comparison = compare_runs([make("a", **PLAIN), make("b", **({**DEBIASED} | of_b))])
    assert comparison.pairs[0].obstacle.code == code
    assert comparison.pairs[0].bands == ()
    assert comparison.verdict.kind == "not measured"
    assert comparison.pairs[0].obstacle.message in comparison.verdict.sentence
    assert "None." not in to_text(run_blocks(comparison)), "the settings that differ are shown all the same"


def test_one_image_and_a_diverged_run_do_not_compare(make):
    one = compare_runs([make("a", images=1, **PLAIN), make("b", images=1, **DEBIASED)])
    assert one.pairs[0].obstacle.code == "too-few-images"
    broken = compare_runs([make("c", **PLAIN), make("d", (float("nan"),) * 4, **DEBIASED)])
    assert broken.pairs[0].obstacle.code == "not-finite"


def test_an_unfinished_run_is_compared_at_the_last_step_that_both_measured(make):
    whole = make("a", steps=(0, 50, 100), **PLAIN)
    comparison = compare_runs([whole, make("b", (-0.05,) * 4, steps=(0, 50), unfinished=True, **DEBIASED)])
    assert comparison.pairs[0].steps == (50, 50)
    assert comparison.verdict.best == "b"
    assert "b is not finished" in comparison.notes[0]


def test_three_runs(make):
    runs = [make("a", **PLAIN), make("b", (-0.03,) * 4, **DEBIASED)]
    best = make("c", (-0.08,) * 4, recipe={"weighting": [{"name": "min_snr", "gamma": 5.0}]})
    comparison = compare_runs([*runs, best])
    assert len(comparison.pairs) == 3
    assert comparison.verdict.best == "c"
    mixed = make("d", (-0.12, 0.1, 0, 0), recipe={"weighting": [{"name": "p2"}]})
    assert compare_runs([*runs, mixed]).verdict.kind == "mixed"


def test_runs_that_differ_only_in_their_seed_are_one_arm_and_pair_by_seed(make):
    seeds = (1, 2, 3)
    plain = [make(f"a{s}", prefix=f"s{s}-", seed=s, noise=0.002, **PLAIN) for s in seeds]
    changes = (-0.05, -0.051, -0.049)
    debiased = [
        make(f"b{s}", (c,) * 4, prefix=f"s{s}-", seed=s, noise=0.002, **DEBIASED)
        for s, c in zip(seeds, changes, strict=True)
    ]
    comparison = compare_runs([*plain, *debiased])
    assert [arm.seeds for arm in comparison.arms] == [seeds, seeds]
    assert comparison.notes[0] == "a1 stands for 3 runs of one recipe: a1, a2, a3."
    pair = comparison.pairs[0]
    assert (pair.method, pair.count, pair.seeds) == ("pairs of seeds", 3, 3)
    assert pair.bands[0].change.value == pytest.approx(-0.05, abs=1e-3)
    assert (comparison.verdict.best, comparison.verdict.caution, comparison.to_train) == ("b1", "", ())
    assert "seed" not in [setting.field for setting in comparison.settings]


def test_seeds_that_disagree_show_no_difference_however_sure_each_is(make):
    plain = [make(f"a{s}", seed=s, prefix=f"s{s}-", **PLAIN) for s in (1, 2)]
    debiased = [make(f"b{s}", (c,) * 4, seed=s, prefix=f"s{s}-", **DEBIASED) for s, c in ((1, -0.1), (2, 0.08))]
    assert compare_runs([plain[0], debiased[0]]).verdict.kind == "better"
    comparison = compare_runs([*plain, *debiased])
    assert comparison.verdict.kind == "neither"
    assert "2 seeds of each" in comparison.verdict.sentence
    assert [command.rsplit(" --out")[0][-6:] for command in comparison.to_train] == ["seed=3", "seed=3"]


def test_other_seeds_on_the_same_images_make_an_interval_without_pairs(make):
    folder = {"validation": {"folder": "/held/out"}}
    plain = [make(f"a{s}", seed=s, noise=0.001, **PLAIN, **folder) for s in (1, 2)]
    debiased = [make(f"b{s}", (0.3,) * 4, seed=s, noise=0.001, **DEBIASED, **folder) for s in (3, 4)]
    assert compare_runs([*plain, *debiased]).pairs[0].method == "seeds"


def test_only_the_seed_differs(make):
    folder = {"validation": {"folder": "/held/out"}}
    comparison = compare_runs([make("a", **PLAIN, **folder), make("b", seed=2, **PLAIN, **folder)])
    assert comparison.only_seed
    assert comparison.verdict.caution == ONLY_SEED
    assert [(s.field, s.values) for s in comparison.settings] == [("seed", ("1", "2"))]


def test_settings_that_differ_and_nothing_else(make):
    runs = make("a", **PLAIN), make("b", **DEBIASED, train={"steps": 200, "learning_rate": 1e-3})
    settings = {setting.field: setting.values for setting in compare_runs(runs).settings}
    assert settings == {
        "recipe.weighting": ("none", "debiased:max_snr=none"),
        "train.steps": ("100", "200"),
        "train.learning_rate": ("0.0001", "0.001"),
    }


def test_a_run_is_named_once(make):
    run = make("a")
    for texts, code in (([run], "nothing-to-do"), ([run, run], "stated-twice"), ([run, f"b = {run}"], "stated-twice")):
        with pytest.raises(UserError) as error:
            compare_runs(texts)
        assert error.value.code == code


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}', '{"held_back": [{}], "model": {}}'])
def test_a_damaged_record_of_the_images_is_named(make, text):
    runs = [make("a"), make("b", **DEBIASED)]
    (Path(runs[1]) / "sources.json").write_text(text)
    with pytest.raises(UserError, match=r"sources\.json is damaged"):
        compare_runs(runs)
    (Path(runs[1]) / "sources.json").unlink()
    assert compare_runs(runs).pairs[0].obstacle is None, "without the record the names decide"


def test_the_page_is_whole_and_holds_each_picture_once(make):
    comparison = compare_runs([make("a", **PLAIN), f"<b> = {make('b', **DEBIASED)}"])
    png = [b"\x89PNG" + bytes(12) + (64).to_bytes(4, "big") + bytes([n]) for n in range(5)]
    views = (PictureView(50, 1.0), PictureView(None, 1.0))
    rows = (
        PictureRow("without a LoRA", {None: (png[0],)}),
        PictureRow("a", {views[0]: (png[1],), views[1]: (png[2],)}),
        PictureRow("<b>", {views[1]: (png[3],)}),
    )
    page = render_runs(comparison, PictureTable(("a <prompt>",), rows, views))
    assert page.count("data:image/png") == len(set(re.findall(r"base64,([^\"]+)", page))) == 4
    assert "not saved" in page, "a step that one run did not save"
    assert "<b>" not in page.replace("<b>warning", "")
    assert "http" not in page
    assert re.search(r'type="range" min="0" max="1" value="1"', page)


def test_the_command_answers_without_torch_and_pictures(make, tmp_path):
    runs = [make("a", **PLAIN), make("b", (-0.05,) * 4, **DEBIASED)]
    code = (
        "import sys\nfrom snrlab.cli import main\n"
        f"sys.argv = ['snrlab', 'compare', *{runs!r}, *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert not {'torch', 'diffusers', 'matplotlib', 'PIL'} & set(sys.modules)\n"
    )
    outputs = {
        form: subprocess.run([sys.executable, "-c", code, *form], capture_output=True, text=True, cwd=tmp_path)
        for form in ((), ("--json",), ("-o", "page.html", "--no-pictures"))
    }
    assert [done.stderr for done in outputs.values()] == [""] * 3
    assert outputs[()].stdout.startswith("b is better than a")
    assert "recipe.weighting" in outputs[()].stdout
    assert "of the training" in outputs[()].stdout, "the comparison of the recipes is below"
    assert json.loads(outputs["--json",].stdout)["verdict"]["best"] == "b"
    assert 'class="verdict">b is better than a' in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_students_t():
    """Quantiles of printed tables, and intervals that cover the truth as often as they say."""
    assert [round(t_quantile(0.99, n), 3) for n in (1, 4, 9, 30)] == [63.657, 4.604, 3.250, 2.750]
    draw = np.random.default_rng(0).normal(3, 2, (1000, 6))
    intervals = [t_interval(values[:3]) for values in draw]
    assert 930 <= sum(interval.low <= 3 <= interval.high for interval in intervals) <= 970
    apart = [welch_interval(values[:2], 5 * values[2:]) for values in draw]  # four values that spread more than two
    assert 930 <= sum(interval.low <= 12 <= interval.high for interval in apart) <= 1000


def test_options_of_pictures_are_refused_where_nothing_is_drawn(make, tmp_path):
    runs = [make("a", **PLAIN), make("b", **DEBIASED)]
    for arguments, message in (
        ([*runs, "--step", "50"], "chooses pictures of runs; write a page"),
        ([*runs, "--pictures"], "name one with -o page.html"),
        (["plain", "debiased", "--strength", "0.5"], "where every source is a run folder"),
    ):
        done = tiny.snrlab("compare", *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert message in done.stderr


def test_the_page_shows_every_kind_of_block_and_shares_no_class_with_the_report(make):
    """A lead was shown as its Python value, and the intervals in the report's pale colour for bands."""
    comparison = compare_runs([make("a", **PLAIN), make("b", **DEBIASED)])
    kinds = [Heading("h"), Lead("l"), BulletList(("b",)), NumberedList(("n",)), TableBlock((("t",), ("r",))), Code("c")]
    page = render_runs(comparison, None, [*kinds, Finding("code", "warning", "It is so.")])
    assert not re.search(r"(Heading|Lead|BulletList|NumberedList|TableBlock|Code|Finding)\(", page)
    own, report = (set(re.findall(r"\.([a-z][\w-]*)", read_asset(name))) for name in ("run_page.css", "report.css"))
    assert own & report <= {"verdict", "zero", "small"}, "what both style on purpose"
