"""A checkpoint holds all that a step changes, is whole or skipped, and is never written in place."""

import os
from itertools import product

import numpy as np
import pytest
from torch import Tensor, nn

import tiny
from snrlab import SAMPLINGS, UserError
from snrlab.train import runner
from snrlab.train.job import prepare
from snrlab.train.loop import steps
from snrlab.train.resume import checkpoint
from snrlab.train.resume.state import PIECES

pytestmark = pytest.mark.numeric

# what steps change that decides nothing: norms of this step, pictures held to be cut again, the order once computed,
# what is computed from the memory of errors; the rate that every step begins with setting, from its number; and what
# the probe has measured: where memory lies, its sums may end otherwise
PASSING = ("._norms", "._step", "._held", "._bytes", ".order.pattern", ".order._earlier_turns", ".sampler._laws", ".lr")
PASSING += (".findings.",)


def leaves(thing, names, path="job", seen=None):
    """(path, value) of every tensor and plain number that can be reached from an object; `names` of weights by id."""
    seen = {} if seen is None else seen
    if isinstance(thing, Tensor):
        if thing.device.type != "meta":
            yield path, thing.detach().float().numpy().tobytes() if thing.numel() else b""
    elif isinstance(thing, np.ndarray):
        yield path, thing.tobytes() if thing.dtype != object else b""
    elif isinstance(thing, bool | int | float | str | bytes | type(None)):
        yield path, thing
    if isinstance(thing, bool | int | float | str | bytes | type(None) | np.ndarray | type) or id(thing) in seen:
        return
    seen[id(thing)] = thing  # held, so that its number is not given away
    if isinstance(thing, nn.Module):
        yield from leaves({**dict(thing.named_parameters()), **dict(thing.named_buffers())}, names, path, seen)
    elif isinstance(thing, dict):
        for key, value in thing.items():  # an optimizer's state has weights as its keys
            yield from leaves(value, names, f"{path}.{names.get(id(key), key)}", seen)
    elif isinstance(thing, list | tuple | set | frozenset):
        for number, value in enumerate(thing):
            yield from leaves(value, names, f"{path}.{number}", seen)
    elif not isinstance(thing, Tensor) and hasattr(thing, "__dict__") and not callable(thing):
        yield from leaves(vars(thing), names, path, seen)


def all_of(job):
    weights = {**job.parameters, **getattr(job.optimizer, "stand_ins", {})}
    state = dict(leaves(vars(job), {id(weight): name for name, weight in weights.items()}))
    return {path: value for path, value in state.items() if not any(part in path for part in PASSING)}


RUNS = {
    "lora": {"train": {"ema": 0.9}, "lora": {"rank": 2, "loraplus_ratio": 4.0, "dropout": 0.5}},
    "full": {"train": {"method": "full", "text_encoder": True}},
    "one-by-one": {"train": {"method": "full", "fused_backward": True, "max_grad_norm": 0.0}},
    "half": {"model": {"precision": "fp16", "probe": False}, "train": {"steps": 4}},
    "random-crop": {"data": {"random_crop": True}},
    "learning": {"recipe": {"sampling": next(name for name, e in SAMPLINGS.items() if e.properties.learns)}},
}


@pytest.mark.parametrize("name", RUNS)
def test_whatever_two_steps_change_is_put_back(name, tiny_model, pictures, tmp_path):
    """Another job with the checkpoint in it is the same, down to the last number that can be reached."""
    config = tiny.run_config(tiny_model, pictures, **RUNS[name])
    job, fresh = prepare(config), prepare(config)
    before = all_of(job)
    taken = steps(job)
    next(taken), next(taken)
    after = all_of(job)
    changed = {path for path in after if path not in before or after[path] != before[path]}
    assert any("unet" in path or "parameters" in path for path in changed), "the walk reaches the weights"
    file = checkpoint.save_checkpoint(job, tmp_path, 2)
    assert checkpoint.restore(fresh, tmp_path) == 2
    with file.open("r+b") as opened:  # what is put back is a copy: nothing of it lies in the file any more
        opened.write(bytes(file.stat().st_size))
    put_back = all_of(fresh)
    assert {path for path in after if path not in put_back or put_back[path] != after[path]} == set()


def test_each_piece_matters(tiny_model, pictures):
    """No piece of the list is empty everywhere: each changes in one of the runs."""
    moved = set()
    for name in ("lora", "half", "learning"):
        job = prepare(tiny.run_config(tiny_model, pictures, **RUNS[name]))

        def taken(job=job):
            return {p.name: (repr(p.take(job)[1]), [t.double().sum().item() for t in p.take(job)[0].values()])
                    for p in PIECES}  # fmt: skip

        before = taken()
        next(steps(job))
        moved |= {name for name, value in taken().items() if value != before[name]}
    assert moved == {piece.name for piece in PIECES}


@pytest.fixture(scope="module")
def kept(tiny_model, pictures, tmp_path_factory):
    """A job and the checkpoints after two and four steps of it."""
    job = prepare(tiny.run_config(tiny_model, pictures))
    folder = tmp_path_factory.mktemp("checkpoints")
    for step in steps(job):
        if step.index in (1, 3):
            checkpoint.save_checkpoint(job, folder, step.index + 1)
    return job, folder


@pytest.fixture
def folder(kept, tmp_path):
    for file in checkpoint.checkpoints(kept[1]):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def flip_a_bit(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGE = {
    "a bit of a weight": lambda content: flip_a_bit(content, len(content) // 2),
    "the last bit": lambda content: flip_a_bit(content, len(content) - 1),
    "a number in the header": lambda content: content.replace(b'"step":"4"', b'"step":"5"'),
    "cut short": lambda content: content[: len(content) // 2],
    "cut in the header": lambda content: content[:20],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_by_name(damage, kept, folder):
    newest = checkpoint.checkpoints(folder)[-1]
    content = newest.read_bytes()
    newest.write_bytes(DAMAGE[damage](content))
    assert newest.read_bytes() != content
    with tiny.messages() as messages:
        assert checkpoint.restore(kept[0], folder) == 2
    assert [newest.name in line for line in messages] == [True]


def test_whole_checkpoints_are_taken(kept, folder):
    with tiny.messages() as messages:
        assert checkpoint.restore(kept[0], folder) == 4
    assert not messages


def test_no_whole_checkpoint(kept, folder):
    for file in checkpoint.checkpoints(folder):
        file.write_bytes(b"")
    with pytest.raises(UserError, match="no checkpoint is intact"):
        checkpoint.restore(kept[0], folder)


def test_after_a_damaged_one_the_last_two_are_whole_again(kept, folder):
    """The damaged one is newer than what is saved next, and must not count as one of the two that are kept."""
    checkpoint.checkpoints(folder)[-1].write_bytes(b"")
    checkpoint.save_checkpoint(kept[0], folder, 3)
    assert [checkpoint.step_of(file) for file in checkpoint.checkpoints(folder)] == [2, 3]
    assert checkpoint.newest(folder) == checkpoint.checkpoint_file(folder, 3)


@pytest.mark.parametrize(("call", "step"), list(product(("fsync", "replace"), (4, 5))))
def test_a_checkpoint_is_never_half_there(call, step, kept, folder, monkeypatch):
    """Where a write stops before its last moment, what was there is still whole; nothing else is left."""
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (type(folder), "replace")), stop)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_checkpoint(kept[0], folder, step)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_weights_that_are_no_numbers_are_not_kept(tiny_model, pictures, tmp_path):
    job = prepare(tiny.run_config(tiny_model, pictures))
    next(iter(job.parameters.values())).data.flatten()[0] = float("nan")
    with pytest.raises(checkpoint.NotFiniteError, match="is not finite"):
        checkpoint.save_checkpoint(job, tmp_path, 1)
    assert not list(tmp_path.iterdir())


def test_three_resumes_count_as_an_undisturbed_run(tiny_model, pictures, tmp_path, monkeypatch):
    """Steps, epochs, learning rates, losses and the order of the pictures, over three stops."""
    config = tiny.run_config(
        tiny_model,
        pictures,
        train={"steps": 9, "warmup": 4, "checkpoint_every": 2},
        data={"flip": True},
        output={"report": False, "model_card": False},
    )

    def run(out, stops):
        seen = {}

        def watched(job, start=0):
            for step in steps(job, start):
                _, images = job.examples.images_at(step.index, np.arange(job.total))
                record = (step.epoch, step.learning_rate, step.loss, step.timesteps.tolist(), images)
                assert seen.setdefault(step.index, record) == record, "a step taken again is the same"
                yield step
                if stops and step.index + 1 == stops[0]:
                    stops.pop(0)
                    raise SystemExit

        monkeypatch.setattr(runner, "steps", watched)
        while True:
            try:
                return seen, runner.run(config, tmp_path / out, resume=True).folder
            except SystemExit:
                continue

    whole, undisturbed = run("whole", [])
    resumed, stopped = run("stopped", [2, 5, 7])
    assert list(whole) == list(range(9))
    assert max(line[0] for line in whole.values()) > 2, "several epochs"
    assert resumed == whole
    for name in ("steps.jsonl", "tiny.safetensors"):
        assert (undisturbed.path / name).read_bytes() == (stopped.path / name).read_bytes()
