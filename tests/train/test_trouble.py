"""What can go wrong in the middle of a run: a message that says what to do, and a run that goes on to the same end."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from snrlab import UserError
from snrlab.cli import main
from snrlab.config import parse_run
from snrlab.core.errors import DEBUG, BugError
from snrlab.files.writing import WriteError, write_error
from snrlab.train import loop, runner, signals
from snrlab.train.checks import rehearsal
from snrlab.train.failure.error_messages import as_user_error
from snrlab.train.loop import DivergedError, steps
from snrlab.train.outputs import milestones
from snrlab.train.resume import checkpoint, fingerprints
from snrlab.train.signals import SIGNALS, stop_on_signals

resource = pytest.importorskip("resource", reason="limits on files are of POSIX systems")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="faults are made with what POSIX systems have")


QUICK = {"report": False, "model_card": False}


def go(config, out, **kwargs):
    with tiny.messages() as messages:
        outcome = runner.run(config, out, **kwargs)
    return outcome, "\n".join(messages)


@pytest.fixture(scope="module")
def config(tiny_model, pictures):
    """A run that draws and exports on the way; no report and no card, which take longer."""
    return tiny.run_config(
        tiny_model, pictures, train={"checkpoint_every": 3}, sample={"prompts": ["a"], "every": 2, "steps": 1},
        output=QUICK | {"every": 2},
    )  # fmt: skip


@pytest.fixture(scope="module")
def measured(config, tiny_model, pictures):
    """The same with a validation."""
    validation = tiny.run_config(tiny_model, pictures, validation={"images": 1, "every": 2}).validation
    return config.model_copy(update={"validation": validation})


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """What an undisturbed run of it leaves."""
    return files(go(config, tmp_path_factory.mktemp("whole"))[0].folder.path)


@pytest.fixture(scope="module")
def whole_measured(measured, tmp_path_factory):
    """What an undisturbed run with a validation leaves."""
    return files(go(measured, tmp_path_factory.mktemp("measured"))[0].folder.path)


def files(folder):
    """What a run leaves but for its checkpoints, of which there may be one more where it was stopped."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*")
            if f.is_file() and f.parent.name != "checkpoints"}  # fmt: skip


def goes_on(config, out, whole):
    """Whether the run in `out` ends as the undisturbed one."""
    outcome, _ = go(config, out, resume=True)
    assert outcome.finished
    contents = files(outcome.folder.path)
    assert contents.keys() == whole.keys()
    assert {name for name in whole if contents[name] != whole[name]} == set()
    return True


def at_step(number, act):
    """Steps, and something that happens before the one of this number."""

    def watched(job, start=0):
        for step in steps(job, start):
            if step.index == number - 1:
                yield step
                act()
            else:
                yield step

    return watched


def within_step(number, act):
    """Steps, and something that happens while the one of this number is taken."""

    def watched(job, start=0):
        for step in steps(job, start):
            if step.index == number:
                act()
            yield step

    return watched


@contextmanager
def small_disk(folder):
    """A folder that is a disk of its own with room for a run, and what fills it; else a limit on the size of files."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    filler = folder / "filler"

    def fill():
        if mounted.returncode:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
            return
        with filler.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(4096))
                except OSError:
                    return

    def free():
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        filler.unlink(missing_ok=True)

    try:
        yield fill, free
    finally:
        free()
        if not mounted.returncode:
            subprocess.run(["umount", folder], check=True)


# before the first picture, before the log of the first step, ... in the order in which a run comes to them
FULL_AT = ((milestones, "draw_samples"), (runner, "record"), (checkpoint, "write_tensors"),
           (milestones, "export_result"), (milestones, "validate"), (runner, "export_result"))  # fmt: skip
SAVED = [0, 0, 0, 0, 0, 6]


@pytest.mark.long
def test_a_disk_that_fills_up_again_and_again(measured, whole_measured, tmp_path, monkeypatch):
    """Just before each kind of file is written: what was there stays, and with room again the run ends as ever."""
    monkeypatch.setattr(rehearsal, "_SPARE", 0)  # the disk is small on purpose
    out, saved = tmp_path / "disk" / "runs", []
    with small_disk(tmp_path / "disk") as (fill, free):
        for module, name in FULL_AT:
            original = getattr(module, name)

            def fill_first(*args, original=original, **kwargs):
                fill()
                return original(*args, **kwargs)

            with monkeypatch.context() as patch:
                patch.setattr(module, name, fill_first)
                with pytest.raises(UserError, match=r"the disk is full|no file of that size") as stopped:
                    go(measured, out, resume=True)
            assert "snrlab resume" in str(stopped.value)
            assert not list(out.rglob("*.tmp"))
            free()
            newest = checkpoint.newest(out / "tiny" / "checkpoints")
            saved.append(0 if newest is None else checkpoint.step_of(newest))
        assert saved == SAVED
        assert goes_on(measured, out, whole_measured)


def test_how_much_a_full_disk_lacks_is_said(tmp_path):
    reason = OSError(errno.ENOSPC, "No space left on device")
    text = str(write_error(tmp_path / "step-1.safetensors", reason, 5 * 2**20))
    assert "which needs 5.0 MB cannot be written: the disk is full (" in text
    assert "free). Make room." in text


@pytest.mark.parametrize("when", ["before", "on the way"])
def test_a_read_only_folder(when, config, whole, tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "tiny" / "checkpoints"
    bound = []

    def lock():
        folder.mkdir(exist_ok=True, parents=True)
        for options in (["--bind", folder, folder], ["-o", "remount,bind,ro", folder]):
            if subprocess.run(["mount", *options], capture_output=True).returncode:
                pytest.skip("read-only folders can be made by root only, and root may not mount here")
            bound.append(folder)

    try:
        if when == "before":
            lock()
            with pytest.raises(UserError, match="exists and is not a run"):
                go(config, tmp_path / "runs")
            return
        monkeypatch.setattr(runner, "steps", at_step(2, lock))
        with pytest.raises(WriteError, match=r"checkpoints is read-only, or not yours to write to") as stopped:
            go(config, tmp_path / "runs")
        assert "To start again:" in str(stopped.value)
    finally:
        if bound:
            subprocess.run(["umount", folder], check=True)
    monkeypatch.setattr(runner, "steps", steps)
    assert goes_on(config, tmp_path / "runs", whole)


def test_too_little_memory_in_a_step(config, whole, tmp_path, monkeypatch):
    """What the allocator itself raises; the steps before it are kept."""
    original = loop.one_pass

    def greedy(job, index, *args):
        if index == 4:
            torch.empty(2**52)
        return original(job, index, *args)

    monkeypatch.setattr(loop, "one_pass", greedy)
    with pytest.raises(UserError, match="this machine has too little memory") as stopped:
        go(config, tmp_path)
    text = str(stopped.value)
    assert "a smaller train.batch_size, with train.gradient_accumulation in its place" in text
    assert "train.gradient_checkpointing = true" in text
    assert "is saved up to step 4. To go on:\n  snrlab resume" in text
    monkeypatch.setattr(loop, "one_pass", original)
    assert goes_on(config, tmp_path, whole)


def test_too_little_memory_is_found_before_the_first_step(config, tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, "one_pass", lambda *args: torch.empty(2**52))
    with pytest.raises(UserError, match=r"too little memory for a step. To save memory: model.precision"):
        go(config, tmp_path)
    assert not list(tmp_path.iterdir())


def interrupt(times):
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_request_breaks_off_pictures_and_keeps_the_steps(config, whole, tmp_path, monkeypatch):
    """Step 4 has no checkpoint of its own when its pictures are drawn; it is saved all the same."""
    original = milestones.draw_samples

    def impatient(job, file):
        if file.stem == "step-00000004":
            interrupt(2)
        return original(job, file)

    monkeypatch.setattr(milestones, "draw_samples", impatient)
    with tiny.messages() as messages, pytest.raises(KeyboardInterrupt):
        runner.run(config, tmp_path)
    assert any("Press Ctrl-C again to save and stop now." in message for message in messages)
    assert "is saved up to step 4." in messages[-1]
    monkeypatch.setattr(milestones, "draw_samples", original)
    assert goes_on(config, tmp_path, whole)


@pytest.mark.slow
def test_requests_to_stop(config, whole, tmp_path, monkeypatch):
    """The first two save and stop, a third stops at once; the run goes on each time and ends as ever."""
    numbers = [number for number in SIGNALS if number.name in ("SIGINT", "SIGTERM", "SIGHUP")]
    assert len(numbers) == 3
    for step, number in enumerate(numbers, 1):
        monkeypatch.setattr(runner, "steps", within_step(step, lambda number=number: os.kill(os.getpid(), number)))
        outcome, messages = go(config, tmp_path, resume=True)
        assert not outcome.finished
        assert "Stopping after this step, and saving." in messages
        assert f"Stopped after step {step + 1}. To go on:\n  snrlab resume {tmp_path / 'tiny'}" in messages

    monkeypatch.setattr(runner, "steps", within_step(4, lambda: interrupt(2)))
    outcome, messages = go(config, tmp_path, resume=True)
    assert not outcome.finished
    assert "Still finishing this step." in messages
    monkeypatch.setattr(runner, "steps", within_step(5, lambda: interrupt(3)))
    with tiny.messages() as messages, pytest.raises(KeyboardInterrupt):
        runner.run(config, tmp_path, resume=True)
    assert "is saved up to step 5. To go on:\n  snrlab resume" in messages[-1]
    monkeypatch.setattr(runner, "steps", steps)
    assert goes_on(config, tmp_path, whole)


def test_a_request_before_the_first_step_stops_at_once(config, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "preflight", lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGTERM))
    with tiny.messages() as messages, pytest.raises(KeyboardInterrupt):
        runner.run(config, tmp_path)
    assert messages[-1] == "Stopped before anything was written."


def test_a_request_while_something_is_printed_is_noted(monkeypatch):
    """Python refuses to print within a print; that is no reason to stop at once, as a bug of ours."""

    def warning(text):
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")

    monkeypatch.setattr(signals.logger, "warning", warning)
    with stop_on_signals() as stop, stop.after_the_step():
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()


def test_what_is_ignored_stays_ignored():
    """As under nohup, where a closed terminal is no reason to stop."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop, stop.after_the_step():
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_that_diverges_keeps_its_last_good_state(config, tmp_path, monkeypatch):
    """Step, pictures, timesteps and SNRs are named, and the state before is saved, though its turn had not come."""
    jobs = []

    def prepare(*args):
        jobs.append(original(*args))
        return jobs[0]

    original = runner.prepare
    monkeypatch.setattr(runner, "prepare", prepare)

    def spoil():
        next(iter(jobs[0].parameters.values())).data.fill_(float("inf"))

    monkeypatch.setattr(runner, "steps", at_step(5, spoil))
    with pytest.raises(DivergedError, match=r"step 5: the loss is not a finite number \(images .*; t \d+ \(SNR") as end:
        go(config, tmp_path)
    assert "is not finite. Resuming would end in the same way" in str(end.value)
    assert "is saved up to step 3" in str(end.value), "weights that are spoilt are not kept as good"
    monkeypatch.setattr(runner, "prepare", original)
    bad = torch.full((4,), float("nan"))

    def spoil_a_loss(job, index, *args):
        losses = pass_of(job, index, *args)
        return losses._replace(loss=bad) if index == 4 else losses

    pass_of = loop.one_pass
    monkeypatch.setattr(runner, "steps", steps)
    monkeypatch.setattr(loop, "one_pass", spoil_a_loss)
    with pytest.raises(DivergedError, match="is saved up to step 4"):
        go(config, tmp_path, resume=True)


def test_latents_that_are_no_numbers(tiny_model, pictures):
    """The picture is named, not only its step."""
    job = runner.prepare(tiny.run_config(tiny_model, pictures))
    bucket = job.examples.buckets[0]
    bucket.latents[2] = float("nan")
    with pytest.raises(DivergedError, match=rf"The latents of {job.examples.names[bucket.members[2]]} are no"):
        list(steps(job))


def test_a_weight_of_the_model_that_is_no_number(tiny_model, pictures, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    file = model / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["mid_block.resnets.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    for probe in (True, False):
        broken = tiny.run_config(model, pictures, model={"path": str(model), "probe": probe})
        with pytest.raises(UserError, match=r"its weight unet.mid_block.resnets.0.conv1.weight is not finite"):
            go(broken, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["deleted", "broken"])
def test_pictures_that_go_in_the_middle_of_an_epoch(damage, tiny_model, tmp_path, monkeypatch):
    """Those that are read at every step; what is encoded beforehand is not needed any more."""
    folder = tiny.save_pictures(tmp_path / "pictures", 12)
    kept = {file: (file.read_bytes(), file.stat()) for file in folder.iterdir()}
    data = tiny.run_dict(
        tiny_model, folder, train={"batch_size": 1, "steps": 12}, data={"random_crop": True},
        model={"probe": False}, output=QUICK,
    )  # fmt: skip

    def spoil():
        for file in folder.glob("*.png"):
            file.unlink() if damage == "deleted" else file.write_bytes(file.read_bytes()[:60])

    expected = files(go(parse_run(data), tmp_path / "whole")[0].folder.path)
    monkeypatch.setattr(runner, "steps", at_step(3, spoil))
    with pytest.raises(UserError, match=r"\d\d.png cannot be read") as stopped:
        go(parse_run(data), tmp_path / "runs")
    assert "is saved up to step" in str(stopped.value)
    monkeypatch.setattr(runner, "steps", steps)
    if damage == "deleted":
        with pytest.raises(UserError, match="there is no image"):
            go(parse_run(data), tmp_path / "runs", resume=True)
    for file, (content, facts) in kept.items():
        file.write_bytes(content)
        os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert goes_on(parse_run(data), tmp_path / "runs", expected)
    fixed = {**data, "data": {**data["data"], "random_crop": False}, "name": "encoded"}
    monkeypatch.setattr(runner, "steps", at_step(3, spoil))
    assert go(parse_run(fixed), tmp_path / "runs")[0].finished


def test_a_picture_that_goes_while_threads_decode(config, tiny_model, pictures, tmp_path, monkeypatch):
    """There are no worker processes that could be lost; what a thread meets reaches the user by name."""
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    original = fingerprints.fingerprint_inputs

    def look(*args):
        decoded = original(*args)
        (folder / "03.png").unlink()
        return decoded

    monkeypatch.setattr(fingerprints, "fingerprint_inputs", look)
    with pytest.raises(UserError, match=r"03.png cannot be read"):
        go(tiny.run_config(tiny_model, folder), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_second_run_in_the_same_folder(config, tmp_path, monkeypatch):
    errors = []

    def another():
        for resume in (True, False):
            with pytest.raises(UserError, match="is in use: a run in it is still going on in process") as refused:
                go(config, tmp_path, resume=resume)
            errors.append(str(refused.value))

    monkeypatch.setattr(runner, "steps", at_step(2, another))
    folder = go(config, tmp_path)[0].folder
    assert all(f"process {os.getpid()} on " in text and " since 20" in text for text in errors)
    assert len(errors) == 2
    assert not (folder.path / ".holder.json").exists()


def test_a_bug_of_ours_is_kept_without_private_folders(config, tmp_path, monkeypatch, capsys):
    def broken(*args):
        raise KeyError(f"no {tmp_path}/my pictures/secret.png")

    monkeypatch.setattr(runner, "record", broken)
    with pytest.raises(BugError, match="a bug in snrlab, not a mistake of yours: KeyError") as end:
        go(config, tmp_path / "runs")
    text = (tmp_path / "runs" / "tiny" / "bug-1.txt").read_text()
    assert "tiny/bug-1.txt" in str(end.value)
    for part in (f"torch {torch.__version__}", f"numpy {np.__version__}", 'File "snrlab/train/runner.py"', "KeyError",
                 "in broken", "learning_rate = 0.01"):  # fmt: skip
        assert part in text
    for private in (str(tmp_path), str(Path.home()), config.model.path, config.data.folder, sys.prefix):
        assert private not in text, private
    original = runner.run
    monkeypatch.setattr(runner, "run", lambda *args, **kwargs: original(config, tmp_path / "runs", resume=True))
    run = tmp_path / "run.toml"
    run.write_text((tmp_path / "runs" / "tiny" / "run.toml").read_text())
    monkeypatch.setenv(DEBUG, "")  # what --debug puts there goes again with the test
    for options, shown in (([], False), (["--debug"], True)):
        monkeypatch.setattr("sys.argv", ["snrlab", "train", str(run), *options])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 1
        assert ("Traceback" in capsys.readouterr().err) == shown
    assert (tmp_path / "runs" / "tiny" / "bug-3.txt").is_file()


MACHINE = {
    RuntimeError("CUDA error: an illegal memory access was encountered\nmore"): "the graphics card failed (CUDA error",
    torch.OutOfMemoryError("CUDA out of memory."): "the graphics card has too little memory",
    MemoryError(): "this machine has too little memory",
    OSError(errno.EIO, "Input/output error", "/x/a.png"): "a.png cannot be read or written: Input/output error",
    OSError(errno.ENOSPC, "No space left on device"): "steps.jsonl cannot be written: the disk is full",
}


@pytest.mark.parametrize("reason", MACHINE, ids=repr)
def test_what_a_machine_says_in_words(reason, config, tmp_path):
    folder = milestones.RunFolder(tmp_path)
    assert MACHINE[reason] in str(as_user_error(reason, config, folder))
    assert as_user_error(ValueError("ours"), config, folder) is None


def test_a_check_says_it_in_words_too(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for reason, kind, message in (
        (torch.OutOfMemoryError("CUDA out of memory."), UserError, "the graphics card has too little memory"),
        (KeyError("ours"), BugError, "a bug in snrlab, not a mistake of yours: KeyError"),
    ):

        def fail(*_, reason=reason):
            raise reason

        monkeypatch.setattr(runner, "prepare", fail)
        with pytest.raises(kind, match=message):
            runner.check(config, tmp_path / "runs")


def test_what_is_half_written_is_swept(config, whole, tmp_path, monkeypatch):
    """What a kill leaves under temporary names goes when the run goes on."""

    def leave():
        for name in ("checkpoints/step-00000007.safetensors.tmp", "samples/step-00000004/01.png.tmp"):
            (tmp_path / "tiny" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "tiny" / name).write_bytes(b"half")
        raise SystemExit

    monkeypatch.setattr(runner, "steps", at_step(4, leave))
    with pytest.raises(SystemExit):
        go(config, tmp_path)
    monkeypatch.setattr(runner, "steps", steps)
    assert goes_on(config, tmp_path, whole)
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_was_due_when_a_run_stopped_is_made_when_it_goes_on(measured, whole_measured, tmp_path, monkeypatch):
    """A checkpoint is taken before what is drawn, measured and exported after its step."""
    monkeypatch.setattr(runner, "steps", at_step(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert not go(measured, tmp_path)[0].finished
    folder = tmp_path / "tiny"
    assert checkpoint.checkpoints(folder / "checkpoints")[-1].stem == "step-00000004"
    assert not (folder / "samples" / "step-00000004.png").exists()
    assert json.loads((folder / "validation.jsonl").read_text().splitlines()[-1])["step"] == 2
    monkeypatch.setattr(runner, "steps", steps)
    assert goes_on(measured, tmp_path, whole_measured)
