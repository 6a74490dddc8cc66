"""What commands print, where, and what --quiet and --verbose make of it."""

import logging

import pytest

import tiny
import tiny_families
from snrlab.cli import Commands
from snrlab.config import dump
from snrlab.distributed import Processes
from snrlab.models.storage.save_folder import save_folder
from snrlab.train.runner import _main_process_logs


@pytest.fixture
def run_file(tiny_model, pictures, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(dump(tiny.run_config(tiny_model, pictures, train={"steps": 2})))
    return file


def train(run_file, *options):
    done = tiny.snrlab("train", run_file, "--out", run_file.parent / "runs", *options)
    assert done.returncode == 0, done.stderr
    return done, run_file.parent / "runs" / "tiny" / "tiny.safetensors"


@pytest.mark.parametrize("name", Commands.places)
def test_every_command_that_works_takes_both_options(name):
    place = Commands.places[name]
    options = {opt for parameter in place.load(name).params for opt in parameter.opts}
    assert ({"--quiet", "--verbose"} <= options) == (not place.answers)


def test_progress_is_on_stderr(run_file):
    done, result = train(run_file)
    assert done.stdout == ""
    assert done.stderr.startswith("loading the model tiny ...\n")
    assert f"\nwrote {result}\n" in done.stderr
    assert "\nstep 2/2  loss " in done.stderr


def test_quiet_leaves_the_result_and_warnings(run_file):
    done, result = train(run_file, "--quiet")
    assert done.stdout == f"{result}\n"
    assert all(line.startswith("warning: ") for line in done.stderr.splitlines())


def test_quiet_leaves_errors(run_file):
    done = tiny.snrlab("train", run_file, "--quiet", "--set", "train.batch_size=7", "--out", run_file.parent)
    assert done.returncode == 2
    assert done.stderr.startswith("snrlab: error[out-of-range]: train.batch_size is 7, but there are only 6 images")


def test_verbose_adds_what_is_loaded_and_timings(run_file, tiny_model):
    done, result = train(run_file, "--verbose")
    lines = done.stderr.splitlines()
    assert lines[0] == f"read {run_file}"
    assert any(line.startswith(f"loaded {tiny_model}: ") and line.endswith(" s") for line in lines)
    assert any(line.startswith("recipe: ") for line in lines)
    assert any(line.startswith(f"wrote {result.parent / 'checkpoints'}") for line in lines)
    assert f"wrote {result}" in lines


def test_a_check_is_the_answer_and_on_stdout(run_file):
    done = tiny.snrlab("train", run_file, "--check", "--out", run_file.parent / "runs")
    assert done.stderr == ""
    assert done.stdout.startswith("loading the model tiny ...\n")
    assert done.stdout.endswith("ready to train; nothing was written\n")


def test_both_are_refused(run_file):
    done = tiny.snrlab("train", run_file, "--quiet", "--verbose")
    assert done.returncode == 2
    assert "--quiet and --verbose exclude each other" in done.stderr


def test_of_a_file_that_was_written_quiet_leaves_the_path(tmp_path):
    (tmp_path / "model").mkdir()
    save_folder(tiny_families.family("sd1"), tmp_path / "model", None)
    done = tiny.snrlab("convert", "model", "-o", "one.safetensors", "-q", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("one.safetensors\n", "")
    done = tiny.snrlab("convert", "model", "-o", "two.safetensors", cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "wrote two.safetensors"


def test_a_program_that_uses_the_package_decides_what_is_shown():
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("snrlab").handlers)


def test_of_several_processes_the_main_one_logs():
    logger = logging.getLogger("snrlab.train.runner")
    with tiny.messages() as texts:
        for rank in (0, 1):
            with _main_process_logs(Processes(rank, 2)):
                logger.warning(str(rank))
        logger.info("after")
    assert texts == ["0", "after"]
