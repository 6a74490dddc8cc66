"""report.html of a run before, during and after it: what it says, and that a broken one stops nothing."""

import json
import logging
import os

import pytest

import tiny
from snrlab.lab import report as report_module
from snrlab.lab.report import write_report
from snrlab.lab.report_parts.verdict import result_sentences
from snrlab.runs.folder import RunFolder, make_folder, write_config
from snrlab.runs.sessions import read_sessions
from snrlab.train import runner
from snrlab.train.outputs import live_report, milestones


def config(tiny_model, pictures, **sections):
    watched = {
        "train": {"steps": 4},
        "validation": {"images": 2, "every": 2},
        "sample": {"prompts": ["red <b>", "blue"], "every": 2, "steps": 2},
        "output": {"report": True},
    }
    return tiny.run_config(tiny_model, pictures, **watched | sections)


@pytest.fixture(scope="module")
def watched(tiny_model, pictures, tmp_path_factory):
    """(folder, pages written on the way) of a finished run."""
    pages = []

    def note(folder, state=None):
        file = write_report(folder, state)
        pages.append((state, file.read_text(encoding="utf-8")))
        return file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_report, "write_report", note)
        patch.setattr(live_report, "_FREE_SECONDS", 1e9)  # on however busy a machine
        run = runner.run(config(tiny_model, pictures), tmp_path_factory.mktemp("watched"))
    return run.folder, pages


def test_it_is_written_anew_at_each_measurement_and_grid(watched):
    folder, pages = watched
    assert [state for state, _ in pages] == ["running"] * (len(pages) - 1) + ["finished"]
    first, *_, last = (page for _, page in pages)
    assert "No step has been taken yet." in first
    assert "location.reload" in first
    halfway = next(page for _, page in pages if "step 2" in page)
    assert "2 of 4" in halfway
    assert "step 4" not in halfway
    assert "step 4" in last
    assert "location.reload" not in last, "a finished page stays as it is"
    assert folder.report.read_text(encoding="utf-8") == last


def test_prompts_are_rows_and_steps_are_columns(watched):
    folder, _ = watched
    page = folder.report.read_text(encoding="utf-8")
    table = page[page.index("<h2>Samples") :]
    table = table[: table.index("</table>")]
    head, *rows = table.split("<tr>")[1:]
    assert [head.count(text) for text in ("before training", "step 2", "step 4")] == [1, 1, 1]
    assert [row.split("</th>")[0] for row in rows] == ["<th>red &lt;b&gt;", "<th>blue"]
    for number, row in enumerate(rows, 1):
        for step in (0, 2, 4):
            link = f"samples/step-{step:08d}/{number:02d}.png"
            assert f'href="{link}"' in row
            assert (folder.path / link).is_file()


def test_without_dates_the_bytes_are_the_same_each_time(watched, tiny_model, pictures, tmp_path):
    folder, _ = watched
    page = folder.report.read_bytes()
    assert not folder.sessions_file.exists()
    assert write_report(folder.path).read_bytes() == page, "from the folder alone"
    again = runner.run(config(tiny_model, pictures), tmp_path).folder
    assert again.report.read_bytes().decode().splitlines() == page.decode().splitlines()


def test_with_dates_it_says_when_and_where(tiny_model, pictures, tmp_path):
    dated = config(tiny_model, pictures, output={"report": True, "dates": True}, sample={}, validation={})
    folder = runner.run(dated, tmp_path).folder
    (session,) = read_sessions(folder.sessions_file)
    page = folder.report.read_text(encoding="utf-8")
    assert session["start"][:10] in page
    assert session["end"][:10] in page
    assert session["device"] in page
    assert "<h2>Samples" not in page
    assert "<h2>Validation" not in page
    assert "Nothing was measured" in page


def test_a_run_without_a_step_has_a_page(tiny_model, pictures, tmp_path):
    folder = RunFolder(tmp_path / "tiny")
    make_folder(folder)
    write_config(folder, config(tiny_model, pictures))
    page = write_report(folder.path).read_text(encoding="utf-8")
    assert "stopped before its last step" in page
    assert "0 of 4" in page


def test_a_broken_report_stops_nothing_and_warns_once(tiny_model, pictures, tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise ValueError("a bug")

    monkeypatch.setattr(report_module, "render_report", fail)
    with caplog.at_level(logging.WARNING, logger="snrlab"):
        outcome = runner.run(config(tiny_model, pictures), tmp_path)
    assert outcome.finished
    assert len([one for one in caplog.records if "a bug" in one.getMessage()]) == 1


def test_an_interrupted_run_says_that_it_stopped(tiny_model, pictures, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_due_work", interrupt)
    with pytest.raises(KeyboardInterrupt):
        runner.run(config(tiny_model, pictures), tmp_path)
    page = (tmp_path / "tiny" / "report.html").read_text(encoding="utf-8")
    assert "stopped before its last step" in page
    assert "location.reload" not in page
    monkeypatch.setattr(runner, "run_due_work", milestones.run_due_work)
    folder = runner.run(config(tiny_model, pictures), tmp_path, resume=True).folder
    assert "<dd>finished</dd>" in folder.report.read_text(encoding="utf-8")
    folder.report.write_text("killed here")
    mtime = folder.result(folder.read_config()).stat().st_mtime - 5
    os.utime(folder.report, (mtime, mtime))
    runner.run(config(tiny_model, pictures), tmp_path, resume=True)
    assert "<dd>finished</dd>" in folder.report.read_text(encoding="utf-8"), "written by the next start"


def line(step, **errors):
    bands = {band: {"value": sum(v) / len(v), "low": 0.0, "high": 9.0} for band, v in errors.items()}
    return {"step": step, "bands": bands, "images": ["a", "b", "c"], "errors": errors}


def test_the_first_sentence_says_what_got_better_and_what_worse():
    high, low, same = "SNR >= 5", "0.1 > SNR", "1 > SNR >= 0.1"
    before = line(0, **{high: [1.0, 2.0, 3.0], low: [1.0, 1.0, 1.0], same: [1.0, 1.0, 1.0]})
    after = line(9, **{high: [0.5, 1.5, 2.5], low: [1.5, 1.5, 1.5], same: [0.9, 1.0, 1.1]})
    better, worse, unclear = result_sentences([before, after], None, lora=True)
    assert better == (
        "After 9 steps the error on 3 images that were not trained on is lower: by 25 % (25 to 25) at little noise "
        "(SNR 5 and more)."
    )
    assert worse == "It is higher: by 50 % (50 to 50) at almost only noise (SNR below 0.1)."
    assert unclear == "No change is larger than chance at much noise (SNR 0.1 to 1)."


def test_the_sentence_on_pictures_says_gain_and_price():
    def estimate(value):
        return {"value": value, "low": value - 0.05, "high": value + 0.05}

    base = {"strength": None, "measures": {"style": estimate(0.08), "caption match": estimate(0.71)}, "change": {}}
    after = {
        "strength": 1.0,
        "measures": {"style": estimate(0.94), "caption match": estimate(0.23)},
        "change": {"style": estimate(0.86), "caption match": estimate(-0.48)},
    }
    gain, price = result_sentences([], {"rows": [base, after]}, lora=True)
    assert gain == "With the LoRA, 94 % of the pictures have the style that was trained, against 8 % before training."
    assert price.startswith("This has a price: 23 % of the pictures")
    kept = json.loads(json.dumps(after)) | {"change": {"style": estimate(0.86), "caption match": estimate(-0.02)}}
    gain, unclear = result_sentences([], {"rows": [base, kept]}, lora=True)
    assert unclear.startswith("More pictures would be needed to tell this from chance: "), "no price, and no silence"
