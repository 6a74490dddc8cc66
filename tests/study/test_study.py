"""A study from its file to its verdict: real runs of a tiny model, killed, gone on with, and extended."""

import contextlib
import json
import subprocess
import sys
import time

import psutil
import pytest
import tomlkit

import tiny
from snrlab.core.errors import UserError
from snrlab.study.answer import answer
from snrlab.study.study import open_study
from snrlab.study.study_file import TWIN
from snrlab.study.study_folder import StudyFolder
from snrlab.study.verdict_text import verdict_sentence

pytestmark = pytest.mark.long
ARMS = {"plain": {}, "debiased": "debiased"}


def write_study(place, tiny_model, pictures, *, name="question", **fields):
    base = tiny.run_dict(tiny_model, pictures, validation={"images": 2}, train={"steps": 4, "learning_rate": 1e-2})
    (place / "run.toml").write_text(tomlkit.dumps(base))
    (place / f"{name}.toml").write_text(
        tomlkit.dumps({"name": name, "base": "run.toml", "baseline": "plain", "seeds": 2, **fields, "arms": ARMS})
    )
    return place / f"{name}.toml"


@pytest.fixture(scope="module")
def done(tiny_model, pictures, tmp_path_factory):
    """A finished study and what its command printed."""
    place = tmp_path_factory.mktemp("study")
    file = write_study(place, tiny_model, pictures)
    outcome = tiny.snrlab("study", file, "--out", place / "studies", "--workers", 2, cwd=place)
    assert outcome.returncode == 0, outcome.stderr
    return StudyFolder(place / "studies" / "question"), file, outcome


def test_it_says_the_verdict_and_writes_the_reports(done):
    folder, _, outcome = done
    assert "3 arms" not in outcome.stdout
    assert "2 arms and the twin of plain, 2 seeds, 6 cells" in outcome.stdout
    data = json.loads(folder.json_report.read_text())
    (sentence,) = data["sentences"]
    assert sentence in " ".join(outcome.stdout.split())
    assert sentence in folder.markdown_report.read_text()
    assert "<svg" in folder.report.read_text()
    assert data["warnings"] == data["missing"] == []
    assert data["primary"][0]["word"] in ("better", "worse", "equivalent", "inconclusive")


def test_cells_of_a_seed_share_all_but_the_recipe(done):
    folder, *_ = done
    results = {(line["arm"], line["seed"]): line for line in folder.read_results()}
    for seed in (1, 2):
        plain, debiased, twin = (results[arm, seed] for arm in ("plain", "debiased", TWIN))
        assert plain["images"] == debiased["images"] == twin["images"]
        assert plain["timesteps"] == debiased["timesteps"] != twin["timesteps"]
        assert plain["measurements"][0] == debiased["measurements"][0] == twin["measurements"][0]
        assert len({str(line["measurements"][-1]) for line in (plain, debiased, twin)}) == 3
    assert results["plain", 1]["timesteps"] != results["plain", 2]["timesteps"]


def test_the_report_comes_from_the_results_alone(done):
    folder, file, _ = done
    opened = open_study(folder.path, file.parent)
    answered = answer(opened.config, folder.read_results())
    data = json.loads(folder.json_report.read_text())
    assert [verdict_sentence(contrast, answered) for contrast in answered.primary] == data["sentences"]


def test_what_is_trained_is_kept_and_seeds_can_be_added(done):
    folder, file, _ = done
    before, stamp = folder.read_results(), folder.run("plain--seed-1").steps_file.stat().st_mtime_ns
    outcome = tiny.snrlab("study", folder.path, "--add-seeds", 1)
    assert outcome.returncode == 0, outcome.stderr
    assert "9 cells; 3 are to be trained" in outcome.stdout
    assert folder.run("plain--seed-1").steps_file.stat().st_mtime_ns == stamp
    assert folder.read_results()[: len(before)] == before
    assert len(folder.read_results()) == 9
    assert folder.read_looks() == [2, 3]
    assert "97.5 % interval" in outcome.stdout
    assert "verdict number 2 on the same study" in " ".join(outcome.stdout.split())
    assert file.read_text() != folder.study_file.read_text()


def test_a_changed_study_is_refused(done, tiny_model, pictures):
    folder, file, _ = done
    changed = file.with_name("changed.toml")
    changed.write_text(file.read_text().replace('name = "question"', 'name = "question"\nmargin = 3.0'))
    with pytest.raises(UserError, match="margin has changed since"):
        open_study(changed, folder.path.parent)


def test_killed_it_goes_on_to_the_same_bytes(done, tiny_model, pictures, tmp_path):
    """The study and its cells get SIGKILL while the second cell trains; then the last cell fails until it can train."""
    file = write_study(tmp_path, tiny_model, pictures)
    folder = StudyFolder(tmp_path / "studies" / "question")
    command = [sys.executable, "-m", "snrlab", "study", str(file), "--out", str(tmp_path / "studies")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as study:
        deadline = time.monotonic() + 60
        while not folder.run(f"{TWIN}--seed-1").steps_file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        children = psutil.Process(study.pid).children(recursive=True)
        study.kill()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    assert len(folder.read_results()) == 1
    (folder.cells / "debiased--seed-2").write_text("in the way")
    outcome = tiny.snrlab("study", file, "--out", tmp_path / "studies", "--workers", 2)
    assert outcome.returncode == 2
    assert "1 cell failed: debiased--seed-2" in outcome.stderr
    assert "debiased with seed 2" in " ".join(outcome.stdout.split())
    assert len(folder.read_results()) == 5
    (folder.cells / "debiased--seed-2").unlink()
    outcome = tiny.snrlab("study", folder.path)
    assert outcome.returncode == 0, outcome.stderr
    expected = [line for line in done[0].read_results() if line["seed"] < 3]
    assert folder.read_results() == expected


def test_dry_run_trains_nothing_and_says_what_could_be_seen(done, tiny_model, pictures, tmp_path):
    folder, *_ = done
    file = write_study(tmp_path, tiny_model, pictures)
    outcome = tiny.snrlab("study", file, "--out", tmp_path / "studies", "--dry-run")
    assert "6 cells; 6 are to be trained" in outcome.stdout
    assert not (tmp_path / "studies").exists()
    outcome = tiny.snrlab("study", folder.path, "--dry-run", "--add-seeds", 2)
    assert "effects from" in outcome.stdout
    assert "a cell" in outcome.stdout
