"""How a run stands, from its folder alone; and its logs, whatever a kill left of them."""

import json
import subprocess
import sys

import pytest

import tiny
from snrlab import UserError
from snrlab.runs.folder import RunFolder
from snrlab.runs.lock import RunLock
from snrlab.runs.logs import StepLine, ValidationLine, read_steps, read_validation
from snrlab.runs.status import run_status
from snrlab.train import runner


@pytest.fixture(scope="module")
def finished(tiny_model, pictures, tmp_path_factory):
    config = tiny.run_config(
        tiny_model, pictures, train={"steps": 3, "checkpoint_every": 1}, validation={"images": 2, "every": 2}
    )
    return runner.run(config, tmp_path_factory.mktemp("runs")).folder


@pytest.fixture
def copy(finished, tmp_path):
    """The same run, to be damaged."""
    import shutil

    return RunFolder(shutil.copytree(finished.path, tmp_path / finished.path.name))


def test_finished(finished):
    status = run_status(finished)
    assert (status.state, status.done, status.steps, status.reason) == ("finished", 3, 3, "")


def test_stopped_and_running(copy):
    copy.result(copy.read_config()).unlink()
    assert run_status(copy).state == "stopped"
    with RunLock(copy.path) as lock:
        lock.take()
        assert run_status(copy).state == "running"
    assert run_status(copy).state == "stopped"


def test_a_holder_that_died_does_not_run(copy):
    """A crash leaves its note behind, but the system has freed its lock."""
    code = (
        "import os; from snrlab.runs.lock import RunLock; from pathlib import Path;"
        f"RunLock(Path({str(copy.path)!r})).take(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert run_status(copy).state == "finished"


@pytest.mark.parametrize("damage", ["not toml [", "", '[model]\nshipped = "other"\n'])
def test_broken(copy, damage):
    copy.config_file.write_text(damage)
    status = run_status(copy)
    assert status.state == "broken"
    assert "run.toml" in status.reason


def test_no_run(tmp_path):
    with pytest.raises(UserError, match="holds no run") as error:
        run_status(RunFolder(tmp_path))
    assert error.value.code == "not-a-run"


def test_a_last_line_that_was_cut_off_is_left_out(copy):
    whole = copy.steps_file.read_bytes()
    for cut in (whole[:-1], whole[:-20], whole + b'{"step": 3', whole + b"\x00"):
        copy.steps_file.write_bytes(cut)
        lines = list(read_steps(copy.steps_file))
        assert [line["step"] for line in lines] == list(range(cut.count(b"\n")))
        assert run_status(copy).done == len(lines)


def test_a_damaged_line_in_the_middle_is_an_error(copy):
    first, *rest = copy.steps_file.read_text().splitlines(keepends=True)
    copy.steps_file.write_text(first[:10] + "\n" + "".join(rest))
    with pytest.raises(UserError, match=r"steps.jsonl: line 1 is damaged") as error:
        list(read_steps(copy.steps_file))
    assert error.value.code == "damaged-file"
    assert run_status(copy).state == "broken"


def test_the_record_types_hold_what_is_written(finished):
    """Every key of a line is in its type, and every key that the type demands is in each line."""
    for lines, kind in (
        (read_steps(finished.steps_file), StepLine),
        (read_validation(finished.validation_file), ValidationLine),
    ):
        for line in lines:
            assert kind.__required_keys__ <= line.keys() <= kind.__required_keys__ | kind.__optional_keys__


def test_it_needs_no_torch(finished):
    code = (
        "import sys; from pathlib import Path; from snrlab.runs.folder import RunFolder;"
        "from snrlab.core.registries.registry import load_plugins; load_plugins();"
        f"from snrlab.runs.status import run_status; print(run_status(RunFolder(Path({str(finished.path)!r}))).state);"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "finished\n"), done.stderr


def test_lines_are_json_one_each(finished):
    for file in (finished.steps_file, finished.validation_file):
        assert all(isinstance(json.loads(line), dict) for line in file.read_text().splitlines())
