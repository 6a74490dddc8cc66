"""`snrlab convert` between the layouts."""

import errno
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
import tiny_families
from snrlab.cli import main
from snrlab.model_files.header import read_header
from snrlab.models.storage.save_folder import save_folder
from snrlab.models.storage.save_single_file import save_single_file


def convert(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["snrlab", "convert", *(str(a) for a in arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


@pytest.fixture
def model(tmp_path, monkeypatch):
    """An SD 2 folder in fp32, and a working folder."""
    folder = tmp_path / "sd2.1"
    folder.mkdir()
    save_folder(tiny_families.family("sd2", "v_prediction"), folder, None)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def test_there_and_back(model, monkeypatch, capsys):
    assert not convert(monkeypatch, model)
    assert "predicts v_prediction: its scheduler_config.json" in capsys.readouterr().out
    assert not convert(monkeypatch, "sd2.1.safetensors", "-o", "back")
    for file in model.glob("*/*.safetensors"):
        one, other = load_file(file), load_file(f"back/{file.parent.name}/{file.name}")
        assert one.keys() == other.keys()
        assert all(torch.equal(t, other[n]) and t.dtype == other[n].dtype for n, t in one.items())


def test_what_exists_is_kept(model, monkeypatch, capsys):
    for name in ("m.safetensors", "m-2.safetensors"):
        assert not convert(monkeypatch, model, "-o", "m.safetensors")
        assert f"wrote {name}" in capsys.readouterr().out
    for name in ("m1.5", "m1.5-2"):
        assert not convert(monkeypatch, "m.safetensors", "-o", "m1.5")
        assert f"wrote {name}" in capsys.readouterr().out


def test_precision(model, monkeypatch):
    assert not convert(monkeypatch, model, "-o", "half.safetensors", "--precision", "bf16")
    formats = read_header(model.parent / "work" / "half.safetensors").formats
    assert {f for n, f in formats.items() if n != "v_pred"} == {"BF16"}


def test_what_a_file_does_not_say(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    save_single_file(tiny_families.family("sd2"), tmp_path / "sd2.safetensors", None)
    metadata = {k: v for k, v in read_header(tmp_path / "sd2.safetensors").metadata.items() if "modelspec" not in k}
    save_file(load_file("sd2.safetensors"), "sd2.safetensors", metadata)
    assert convert(monkeypatch, "sd2.safetensors") == 2
    assert "Give --prediction v_prediction or --prediction epsilon" in capsys.readouterr().err
    arguments = ("--prediction", "v_prediction", "--zero-terminal-snr")
    assert not convert(monkeypatch, "sd2.safetensors", "-o", "v.safetensors", *arguments)
    shapes = read_header(tmp_path / "v.safetensors").shapes
    assert shapes["v_pred"] == shapes["ztsnr"] == (0,)
    assert convert(monkeypatch, "v.safetensors", "--prediction", "epsilon") == 2
    assert "only training changes what a model predicts" in capsys.readouterr().err


def test_mistakes(model, monkeypatch, tmp_path, capsys):
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, tmp_path / "lora.safetensors")
    (tmp_path / "old.ckpt").write_bytes(b"\x80\x02")
    for arguments, message in (
        (("nowhere",), "SOURCE: there is no file or folder"),
        ((tmp_path / "lora.safetensors",), "it is not a complete LoRA"),
        ((tmp_path / "old.ckpt",), "is a pickle"),
        ((model, "-o", "no/m.safetensors"), "--out: there is no folder no"),
        ((model, "--precision", "fp8"), "fp8"),
    ):
        assert convert(monkeypatch, *arguments) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert not list((tmp_path / "work").iterdir())


def test_a_disk_that_is_full_leaves_nothing_and_no_traceback(model, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert not convert(monkeypatch, model)
    for call in ("fsync", "mkdir"):  # of a file in the folder, and of the folder itself
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            assert convert(monkeypatch, "sd2.1.safetensors", "-o", "folder") == 2
        assert "cannot be written: the disk is full" in capsys.readouterr().err
        assert [file.name for file in model.parent.joinpath("work").iterdir()] == ["sd2.1.safetensors"]


def test_a_folder_of_the_users_is_not_taken_for_what_was_stopped(model, monkeypatch, capsys):
    (model.parent / "work" / "out.tmp").mkdir()
    assert convert(monkeypatch, model, "-o", "out") == 2
    assert "out.tmp exists, left by an interrupted command or made by you" in capsys.readouterr().err
    assert (model.parent / "work" / "out.tmp").is_dir()


def test_a_lora_gets_a_name_that_says_its_layout(tmp_path, monkeypatch, capsys):
    """The same name in another folder would be mixed up with the file it came from."""
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    shapes = {"lora_down": (2, 320), "lora_up": (320, 2)}
    tensors = {f"{layer}.{name}.weight": torch.ones(shape) for name, shape in shapes.items()}
    save_file({**tensors, f"{layer}.alpha": torch.tensor(2.0)}, tmp_path / "robot.safetensors")
    monkeypatch.chdir(tmp_path)
    assert not convert(monkeypatch, "robot.safetensors")
    assert "The new file names its layers as peft does; the weights are the same." in capsys.readouterr().out
    assert not convert(monkeypatch, "robot-peft.safetensors")
    assert sorted(file.name for file in tmp_path.iterdir() if file.suffix) == [
        "robot-peft-kohya.safetensors", "robot-peft.safetensors", "robot.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["small", "small_v"])
def test_a_model_that_ships_is_taken_by_its_name(name, tmp_path):
    """Both were refused with the advice to write what had been written."""
    done = tiny.snrlab("convert", name, "-o", "copy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy" / "model_index.json").is_file()
    merged = tiny.snrlab("merge", name, "none.safetensors", "-o", "merged", cwd=tmp_path)
    assert "LORA: there is no file none.safetensors" in merged.stderr, "the base is found"


def test_a_missing_run_is_no_model_to_download(tmp_path):
    done = tiny.snrlab("sample", "runs/mine", "--prompt", "a", cwd=tmp_path)
    assert "snrlab runs" in done.stderr
    assert "hf download" not in done.stderr
