"""The studies of this repository: every word of their reports follows from their results."""

from pathlib import Path

import pytest

from snrlab.files.text import read_toml
from snrlab.lab.blocks import to_markdown
from snrlab.study.answer import answer
from snrlab.study.cells import plan_cells
from snrlab.study.report import render_study_report, study_blocks
from snrlab.study.study_file import TWIN, read_study
from snrlab.study.study_folder import StudyFolder
from snrlab.study.verdict_text import verdict_sentence

ROOT = Path(__file__).parent.parent.parent
FOLDERS = [StudyFolder(file.parent) for file in sorted((ROOT / "studies").glob("*/results.jsonl"))]


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.path.name)
def folder(request):
    return request.param


def answered(folder):
    looks = folder.read_looks()
    return answer(read_study(folder.study_file), folder.read_results(), looks=max(1, len(looks)))


def test_reports_are_those_of_the_results(folder):
    answer_now = answered(folder)
    assert folder.markdown_report.read_text() == to_markdown(answer_now.study.name, study_blocks(answer_now))
    assert folder.report.read_text() == render_study_report(answer_now)


def test_it_is_a_study_that_can_be_believed(folder):
    answer_now = answered(folder)
    assert len(answer_now.study.seed_list) >= 10
    assert answer_now.warnings == (), "the pairing holds in every cell"
    assert answer_now.missing == ()
    assert folder.read_looks(), "a verdict was given on the whole of it"
    assert all(answer_now.floor[contrast.metric].result for contrast in answer_now.primary)


def test_its_cells_are_those_of_its_files(folder):
    study = read_study(folder.study_file)
    planned = plan_cells(study, read_toml(folder.path / study.base))
    results = folder.read_results()
    assert [(cell.arm, cell.seed) for cell in planned] == [(line["arm"], line["seed"]) for line in results]
    assert {line["steps"] for line in results} == {planned[0].config.train.steps}
    assert TWIN in {line["arm"] for line in results}


def test_the_guide_quotes_the_verdicts_of_today():
    (study,) = [folder for folder in FOLDERS if folder.path.name == "lora-weightings"]
    answer_now, page = answered(study), (ROOT / "docs" / "guide" / "10-which-one.md").read_text(encoding="utf-8")
    for contrast in answer_now.primary:
        assert verdict_sentence(contrast, answer_now) in page


def test_there_is_one():
    assert FOLDERS
