"""Mistakes a user can make: one clear message, exit code 2, no traceback, nothing half-written."""

import json
import os
import shutil

import pytest
import tomlkit
import torch
from safetensors.torch import save_file

import tiny
from snrlab.cli import main


@pytest.fixture
def place(tmp_path, tiny_model, pictures, monkeypatch):
    """An empty working folder with a model, pictures and a good run file beside it."""
    shutil.copytree(tiny_model, tmp_path / "model")
    shutil.copytree(pictures, tmp_path / "pictures")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path


def fails(arguments, capsys, monkeypatch):
    """The message of a command that must fail with exit code 2."""
    monkeypatch.setattr("sys.argv", ["snrlab", *(str(a) for a in arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    streams = capsys.readouterr()
    assert end.value.code == 2
    assert "Traceback" not in streams.err + streams.out
    return streams.err


def run_file(place, change=None, **sections):
    data = tiny.run_dict(place / "model", place / "pictures", **sections)
    if change:
        change(data)
    path = place / "run.toml"
    path.write_text(tomlkit.dumps(data))
    return path


RUNS = {
    "misspelt section": ({"modle": {"path": "x"}}, "Did you mean 'model'"),
    "misspelt key": ({"train": {"learnin_rate": 1e-4}}, "Did you mean 'learning_rate'"),
    "text for a number": ({"train": {"steps": "many"}}, "train.steps is 'many'"),
    "fraction of a step": ({"train": {"steps": 1.5}}, "train.steps is 1.5"),
    "negative rate": ({"train": {"learning_rate": -1.0}}, "train.learning_rate is -1.0"),
    "unknown weighting": ({"recipe": {"weighting": ["minsnrr"]}}, "Did you mean 'min_snr'"),
    "misspelt parameter": ({"recipe": {"weighting": [{"name": "min_snr", "gama": 5}]}}, "Did you mean 'gamma'"),
    "gamma of zero": ({"recipe": {"weighting": ["min_snr:gamma=0"]}}, "must be a number > 0"),
    "empty timestep range": (
        {"recipe": {"density": "uniform:min_timestep=5,max_timestep=5"}}, "min_timestep < max_timestep",
    ),
    "limits crossed": ({"recipe": {"max_weight": 1.0, "min_weight": 2.0}}, "above max_weight"),
    "epsilon without signal": (
        {"recipe": {"zero_terminal_snr": True}, "model": {"convert": True}}, "epsilon_zero_terminal_snr",
    ),
    "wrong prediction type": ({"recipe": {"prediction_type": "v_prediction"}}, "says it predicts epsilon"),
    "flow on sd": ({"recipe": {"prediction_type": "flow_prediction"}}, "cannot be trained with this family"),
    "multiplier for v on epsilon": (
        {"recipe": {"weighting": ["scale_v_pred_loss_like_noise_pred"]}}, "this recipe predicts epsilon",
    ),
    "odd resolution": ({"data": {"resolution": 17}}, "multiple of 8"),
    "unknown style": ({"data": {"folder": None, "shipped": "notto"}}, "Did you mean 'noto'"),
    "two sources of data": ({"data": {"shipped": "noto"}}, "give either folder"),
    "no such folder": ({"data": {"folder": "nowhere"}}, "there is no such folder"),
    "no such model": ({"model": {"path": "nowhere"}}, "there is no file or folder"),
    "name with a slash": ({"name": "../escape"}, "name is '../escape'"),
    "rank of zero": ({"lora": {"rank": 0}}, "lora.rank is 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_wrong_runs(name, place, capsys, monkeypatch):
    sections, message = RUNS[name]

    def drop_none(data):
        for table in data.values():
            if isinstance(table, dict):
                for key in [k for k, v in table.items() if v is None]:
                    del table[key]

    assert message in fails(["train", run_file(place, drop_none, **sections)], capsys, monkeypatch)
    assert not list((place / "work").iterdir()), "nothing half-written"


def corrupt_image(place):
    (place / "pictures" / "03.png").write_bytes(b"\x89PNG broken")


def empty_folder(place):
    shutil.rmtree(place / "pictures")
    (place / "pictures").mkdir()


def no_captions(place):
    for file in (place / "pictures").glob("*.txt"):
        file.unlink()


def truncated_weights(place):
    file = place / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def pickled_weights(place):
    file = place / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(".bin"))


def missing_part(place):
    shutil.rmtree(place / "model" / "tokenizer")


def missing_weights(place):
    (place / "model" / "vae" / "diffusion_pytorch_model.safetensors").unlink()


def other_pipeline(place):
    index = place / "model" / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "FluxPipeline"}))


def broken_scheduler(place):
    (place / "model" / "scheduler" / "scheduler_config.json").write_text("{oops")


def unknown_betas(place):
    (place / "model" / "scheduler" / "scheduler_config.json").write_text('{"beta_schedule": "scaled_linar"}')


def wrong_shapes(place):
    config = place / "model" / "unet" / "config.json"
    config.write_text(config.read_text().replace('"cross_attention_dim": 16', '"cross_attention_dim": 24'))


def lora_as_model(place):
    shutil.rmtree(place / "model")
    save_file({"lora_unet_mid_block_x.lora_down.weight": torch.zeros(1)}, place / "model")


def pickle_as_model(place):
    shutil.rmtree(place / "model")
    (place / "model").write_bytes(b"PK\x03\x04" + bytes(200))


def a_file_in_the_way(place):
    (place / "work" / "runs").write_text("mine")


WORLDS = {
    corrupt_image: "03.png cannot be read",
    empty_folder: "there is no image",
    no_captions: "have no caption",
    truncated_weights: "is cut short",
    pickled_weights: "is a pickle",
    missing_part: "has no folder 'tokenizer'",
    missing_weights: "has no diffusion_pytorch_model.safetensors",
    other_pipeline: "holds a FluxPipeline",
    broken_scheduler: "cannot be read",
    unknown_betas: "Did you mean 'scaled_linear'",
    wrong_shapes: "config asks for [16, 24]",
    lora_as_model: "is a LoRA, which goes on top of a model. Give the model that it was trained on",
    pickle_as_model: "it is a pickle under another name",
    a_file_in_the_way: "cannot be written",
}


@pytest.mark.parametrize("spoil", WORLDS, ids=lambda f: f.__name__)
def test_wrong_worlds(spoil, place, capsys, monkeypatch):
    spoil(place)
    before = sorted((place / "work").iterdir())
    assert WORLDS[spoil] in fails(["train", run_file(place)], capsys, monkeypatch)
    assert sorted((place / "work").iterdir()) == before, "nothing half-written"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(place, capsys, monkeypatch):
    (place / "work").chmod(0o500)
    assert "cannot be written" in fails(["train", run_file(place)], capsys, monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "missing.toml"], "there is no run file missing.toml. To get one: snrlab init"),
        (["train", "../lora.ckpt.toml"], "it is no UTF-8 text"),
        (["train", "../run.toml", "--set", "rank=3"], "it belongs in a section: lora.rank"),
        (["train", "../run.toml", "--set", "name=a b"], "it must be of letters a to z"),
        (["train", "../run.toml", "--set", "lora.rank=0"], "lora.rank is 0; it must be >= 1"),
        (["train", "../run.toml", "--set", "train.steps=1.5"], "train.steps is 1.5; it must be a whole number"),
        (["train", "../broken.toml"], "not valid TOML"),
        (["train", "../model"], "the run file cannot be read"),
        (["train", "../run.toml", "--set", "train.steps"], "write section.key=value"),
        (["train", "../run.toml", "--set", "train.step=3"], "Did you mean 'steps'"),
        (["train"], "Missing argument"),
        (["train", "../run.toml", "--reusme"], "--resume"),
        (["tabel"], "table"),
        (["table", "--weighting", "min_snr:gamma"], "is not of the form name=value"),
        (["table", "--weighting", "min_snr:gamma=five"], "gamma is 'five'"),
        (["table", "--weighting", "min_snr:gamma=5,gamma=6"], "given twice"),
        (["table", "--weighting", "debiased", "--zero-terminal-snr"], "weight_infinite"),
        (["table", "--prediction", "espilon"], "Did you mean 'epsilon'? Allowed: epsilon"),
        (["table", "--product-on", "x0"], "Allowed: epsilon, network"),
        (["table", "--at", "1000"], "allowed are 0 to 999"),
        (["table", "--at", "1;2"], "write whole numbers"),
        (["table", "--every", "0"], "must be a whole number >= 1"),
        (["table", "--every", "5", "--at", "3"], "exclude each other"),
        (["table", "--format", "jsn"], "Did you mean 'json'"),
        (["table", "--max-weight", "nan"], "max_weight is nan"),
        (["table", "--schedule", "scheduler_config:config=none"], "config is None"),
        (["table", "--schedule", "scheduler_config:config=no.json"], "cannot be read"),
        (["table", "--density", "curve:points=@no.csv"], "cannot be read"),
        (["table", "--density", "curve:points=0/0"], "it is 0 at every timestep"),
        (["data", "nowhere"], "there is no such folder"),
        (["data", "../lora.ckpt"], "this is a file, not a folder"),
        (["data", "../broken.toml"], "broken.toml cannot be read: "),
        (["data", "."], "there is no image"),
        (["sample", "nowhere", "--prompt", "a"], "there is no file or folder"),
        (["sample", "../model"], "there is nothing to draw"),
        (["sample", "../model", "--prompt", "a", "--lora", "no.safetensors"], "there is no file"),
        (["sample", "../model", "--prompt", "a", "--lora", "../lora.ckpt"], "is a pickle"),
        (["sample", "../model", "--prompt", "a", "--lora", "../half.safetensors"], "is not a safetensors file"),
        (["sample", "../model", "--prompt", "a", "--lora", "../model/unet/diffusion_pytorch_model.safetensors"],
         "holds no LoRA weights"),
        (["sample", "../model", "--prompt", "a", "--out", "no/where.png"], "there is no folder"),
        (["merge", "nowhere", "../half.safetensors", "-o", "x"], "BASE: there is no file or folder"),
        (["merge", "../model", "no.safetensors", "-o", "x"], "LORA: there is no file"),
        (["merge", "../model", "no.safetensors:0.5", "-o", "x"], "LORA: there is no file no.safetensors."),
        (["merge", "../model", "../lora.ckpt", "-o", "x"], "is a pickle"),
        (["merge", "../model", "../half.safetensors", "-o", "x"], "is not a safetensors file"),
        (["merge", "../model", "../strange.safetensors", "-o", "x"], "does not fit model, which has no unet.mid_block"),
        (["merge", "../model", "../strange.safetensors", "-o", "no/where"], "there is no folder"),
        (["merge", "../model", "../strange.safetensors"], "Missing option"),
        (["merge", "../model", "-o", "x"], "Missing argument"),
        (["sample", "../model", "--prompt", "a", "--resolution", "18"], "--resolution is 18"),
        (["sample", "../model", "--prompt", "a --w 7"], "prompt 1: --w (width) is 7"),
        (["sample", "../model", "--prompt", "a", "--strength", "nan"], "--strength: the strength is nan"),
        (["sample", "../model", "--prompt", "a", "--out", ".."], ".. is a folder; name a file in it"),
        (["evaluate", "../model", "--strength", "inf"], "--strength: the strength is inf"),
        (["merge", "../model", "../strange.safetensors:nan", "-o", "x"], "LORA: the strength is nan"),
        (["init", "../pictures", "--model", "small", "-o", ".."], ".. is a folder; name a file in it"),
        (["import", "../kohya.toml", "-o", ".."], ".. is a folder; name a file in it"),
        (["sample", "smal", "--prompt", "a"], "SOURCE: there is no file or folder smal. Did you mean small"),
        (["sample", "../strange.safetensors", "--prompt", "a"], "Give the model and --lora ../strange.safetensors"),
        (["cite", "run.tml"], "there is no file run.tml"),
        (["cite", "photos"], "there is no file or run photos, and it is no recipe"),
        (["compare", "./x", "plain"], "there is no file"),
        (["compare", "C:\\x.toml", "plain"], "there is no file"),
        (["compare", "min_snrr", "plain"], "snrlab: error[unknown-name]: recipe: 'min_snrr' is not known. Did you"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)  # fmt: skip
def test_wrong_commands(arguments, message, place, capsys, monkeypatch):
    run_file(place)
    (place / "broken.toml").write_text("[model\n")
    (place / "lora.ckpt").write_bytes(b"\x80\x02")
    (place / "lora.ckpt.toml").write_bytes(b"\x80\x02")
    (place / "kohya.toml").write_text("min_snr_gamma = 5")
    (place / "half.safetensors").write_bytes(b"\x00" * 40)
    ones = {f"lora_unet_mid_block_x.lora_{side}.weight": torch.ones(1, 1) for side in ("up", "down")}
    save_file(ones, place / "strange.safetensors")
    assert message in " ".join(fails(arguments, capsys, monkeypatch).split())
    assert not list((place / "work").iterdir()), "nothing half-written"


def test_a_bug_is_one_sentence_and_no_traceback(capsys, monkeypatch):
    monkeypatch.setattr("snrlab.lab.cite.to_bibtex", lambda sources: sources["nothing"])
    monkeypatch.setattr("sys.argv", ["snrlab", "cite", "min_snr"])
    with pytest.raises(SystemExit) as end:
        main()
    stderr = capsys.readouterr().err
    assert end.value.code == 1
    assert stderr.startswith("snrlab: a bug in snrlab, not a mistake of yours: KeyError: 'nothing'.")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("mine", ["recipes.png", "other.png"])
def test_plot_keeps_what_is_there(mine, tmp_path):
    (tmp_path / mine).write_text("mine")
    chosen = () if mine == "recipes.png" else ("-o", mine)
    done = tiny.snrlab("plot", "plain", "--show", "weight", *chosen, cwd=tmp_path)
    assert (tmp_path / mine).read_text() == "mine"
    assert done.stdout == f"wrote {mine.replace('.', '-2.')}\n"


CODES = {
    "table --weighting min_snrr": "unknown-name",
    "table --weighting min_snr:gama=5": "unknown-name",
    "table --weighting min_snr:gamma=0": "out-of-range",
    "table --weighting min_snr:gamma=a": "not-a-number",
    "table --weighting min_snr:gamma": "invalid-syntax",
    "table --every 5 --at 7": "conflicting-options",
    "table --weighting debiased --zero-terminal-snr": "invalid-recipe",
    "plot": "nothing-to-do",
    "explain nowhere.toml": "missing-file",
    "explain broken.toml": "invalid-toml",
    "data nowhere": "missing-file",
    "data broken.toml": "invalid-toml",
    "data empty": "no-images",
    "inspect lora.ckpt": "pickle-refused",
    "train nowhere.toml": "missing-file",
    "train misspelt.toml": "unknown-key",
    "train several.toml": "several-mistakes",
    "train kohya.toml": "foreign-settings",
    "train empty": "not-a-file",
    "sample empty": "missing-file",
}


@pytest.mark.parametrize("command", CODES)
def test_each_mistake_has_its_code(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.toml").write_text("[model\n")
    (tmp_path / "lora.ckpt").write_bytes(b"\x80\x02")
    (tmp_path / "kohya.toml").write_text("pretrained_model_name_or_path = 'm'\nmin_snr_gamma = 5")
    shared = '[model]\nrandom = "small"\n[data]\nshipped = "noto"\n[train]\nsteps = 5\n'
    (tmp_path / "misspelt.toml").write_text(f"{shared}learnin_rate = 1e-4\n")
    (tmp_path / "several.toml").write_text(f"{shared}learnin_rate = 1e-4\nlearning_rate = -1.0\n")
    assert fails(command.split(), capsys, monkeypatch).startswith(f"snrlab: error[{CODES[command]}]: ")


def test_files_of_which_several_are_refused_have_a_line_each(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lora.ckpt").write_bytes(b"\x80\x02")
    lines = fails(["inspect", "nowhere.safetensors", "lora.ckpt"], capsys, monkeypatch).splitlines()
    assert [line.partition("]")[0] for line in lines] == ["snrlab: error[missing-file", "snrlab: error[pickle-refused"]
