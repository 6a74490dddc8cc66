"""snrlab init: the run file is valid, fits what was found, gives reasons, and trains."""

import itertools
import json
import shutil
import tomllib

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import tiny
from snrlab import UserError
from snrlab.cli.output_files import free_path
from snrlab.config import read_run
from snrlab.config.presets import BASES, load_preset, preset_names
from snrlab.data.dataset import load_items
from snrlab.init.run_file import draft_run_file
from snrlab.model_files import families
from snrlab.models.layouts.original_layout import layout
from snrlab.models.networks import empty_network
from tiny_families import save_family


@pytest.fixture
def photos(tmp_path):
    """Twenty pictures of mixed size whose captions are tags with a word of their own."""
    folder = tmp_path / "My photos é"
    folder.mkdir()
    for index in range(20):
        Image.new("RGB", (80 + 8 * (index % 5), 96), (index * 12, 80, 120)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"zork figure, colour {index}, white background", encoding="utf-8")
    return folder


def model_of(family, path, **marks):
    """A file whose header is that of a whole model of a family; the data is a hole."""
    tensors = {}
    for part in families.PARTS[family]:
        network = empty_network(part, families.config(family, part))
        state = network.state_dict()
        for entry in layout(part, state, network.config if part in ("unet", "vae") else {}, family):
            tensors[entry.name] = list(entry.join({name: state[name].to("meta") for name in entry.parts}).shape)
    tensors |= {name: [0] for name in marks}
    header, end = {}, 0
    for name, shape in tensors.items():
        header[name] = {
            "dtype": "F16",
            "shape": shape,
            "data_offsets": [end, end := end + 2 * torch.Size(shape).numel()],
        }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


def run_of(started, folder):
    path = folder / "started.toml"
    path.write_text(started.text, encoding="utf-8")
    return read_run(path)


@pytest.mark.parametrize(("preset", "base"), list(itertools.product(preset_names(), BASES)))
def test_every_preset_is_a_valid_run_for_every_family(preset, base, photos, tmp_path):
    model = "small" if base == "small" else model_of(base, tmp_path / f"{base}.safetensors")
    started = draft_run_file(photos, str(model), preset)
    config = run_of(started, tmp_path)
    assert config.data.folder == str(photos)
    assert config.train.method == ("full" if preset == "fine-tune" else "lora")
    batch = config.train.batch_size
    assert batch <= 20
    least, most = load_preset(preset).least, load_preset(preset).most
    assert least <= config.train.steps <= most
    assert config.data.resolution == {"sd1": 512, "sd2": 768, "sdxl": 1024, "small": 64}[base]
    lines = started.text.splitlines()
    head = " ".join(line.removeprefix("# ") for line in itertools.takewhile(lambda line: line, lines))
    assert f"{config.train.steps} steps of {batch}" in head
    if base != "small":
        assert f"Fits a graphics card with {load_preset(preset).memory[base]} GB" in head
    for field in load_preset(preset).fields:
        if base in field.values:
            place = next(i for i, line in enumerate(lines) if line.startswith(f"{field.name.split('.')[1]} ="))
            assert lines[place - 1].startswith("#"), f"{field.name} has a reason above it"


def test_more_images_are_more_steps_and_are_held_back(photos, tmp_path):
    few = run_of(draft_run_file(photos, "small", "style-lora"), tmp_path)
    for index, copy in itertools.product(range(20), range(20)):
        for suffix in (".png", ".txt"):
            shutil.copy(photos / f"{index}{suffix}", photos / f"{index}-{copy}{suffix}")
    many = run_of(draft_run_file(photos, "small", "style-lora"), tmp_path)
    assert few.train.steps == 400
    assert many.train.steps == 2500  # (420 - 16 held out) x 100 / 16, in whole fifties
    assert (few.validation.images, many.validation.images) == (2, 16)
    assert few.validation.every == few.train.steps // 5, "enough points for a curve"


def test_few_images_are_held_out_where_that_leaves_enough_to_train_on(photos, tmp_path):
    """What is drafted can be trained: the batch is no larger than what is left."""
    for count, held_out, batch in ((17, 2, 15), (7, 1, 6), (4, 0, 4)):
        for file in sorted(photos.iterdir()):
            if int(file.stem) >= count:
                file.unlink()
        config = run_of(draft_run_file(photos, "small", "style-lora"), tmp_path)
        assert (config.validation.images, config.train.batch_size) == (held_out, batch)
        training, validation = load_items(config.data, config.seed, config.validation.images)
        assert (len(training), len(validation)) == (count - held_out, held_out)


def test_the_word_of_a_character(photos, tmp_path):
    config = run_of(draft_run_file(photos, "small", "character-lora"), tmp_path)
    assert config.output.trigger_phrase == "zork figure"
    assert config.data.shuffle_tags
    assert any(prompt.startswith("zork figure, on a beach") for prompt in config.sample.prompts)
    for index in range(20):
        (photos / f"{index}.txt").write_text(f"standing at place {index} of a long row")
    named = run_of(draft_run_file(photos, "small", "character-lora"), tmp_path)
    assert named.data.caption_prefix == "my photos, ", "no caption has a word: the folder's name goes before each"
    assert not named.data.shuffle_tags, "sentences have no order to change"
    for file in photos.glob("*.txt"):
        file.unlink()
    bare = run_of(draft_run_file(photos, "small", "character-lora"), tmp_path)
    assert bare.data.caption == bare.output.trigger_phrase == "my photos"
    style = run_of(draft_run_file(photos, "small", "style-lora"), tmp_path)
    assert style.data.caption == ""
    assert style.output.trigger_phrase is None


def test_repeats_in_folder_names_count(photos, tmp_path):
    named = photos.rename(tmp_path / "10_sks dog")
    few, many = (
        draft_run_file(named, "small", "style-lora"),
        run_of(draft_run_file(named, "small", "style-lora"), tmp_path),
    )
    assert many.train.steps == 1100  # (200 - 2 x 10 held out) x 100 / 16
    assert "sks" not in few.text.split("[sample]")[1], "captions of their own come first"


@pytest.mark.parametrize(("marks", "prediction", "resolution"), [({}, "v_prediction", 768), ({"v_pred": 1}, None, 768)])
def test_what_an_sd2_file_leaves_open(marks, prediction, resolution, photos, tmp_path):
    started = draft_run_file(photos, str(model_of("sd2", tmp_path / "m.safetensors", **marks)), "style-lora")
    config = run_of(started, tmp_path)
    assert config.recipe.prediction_type == prediction
    assert config.data.resolution == resolution
    assert ("The file does not say it" in started.text) == (prediction is not None)


def test_a_folder_of_sd2_says_what_it_predicts(photos, tmp_path):
    for prediction_type, resolution in (("epsilon", 512), ("v_prediction", 768)):
        model = save_family(tmp_path / prediction_type, "sd2", prediction_type)
        assert run_of(draft_run_file(photos, str(model), "style-lora"), tmp_path).data.resolution == resolution


def test_what_cannot_be_started(photos, tmp_path):
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, tmp_path / "lora.safetensors")
    empty_folder = tmp_path / "nothing"
    empty_folder.mkdir()
    for arguments, message in (
        ((photos, "smal", "style-lora"), "there is no file or folder smal. Did you mean small"),
        ((photos, str(tmp_path / "lora.safetensors"), "style-lora"), "is a LoRA, which goes on top of a model"),
        ((photos, "small", "stile-lora"), "Did you mean 'style-lora'"),
        ((photos, str(photos), "style-lora"), "has no model_index.json"),
        ((empty_folder, "small", "style-lora"), "there is no image"),
        ((tmp_path / "nowhere", "small", "style-lora"), "there is no such folder"),
    ):
        with pytest.raises(UserError, match=message):
            draft_run_file(*arguments)


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "run.toml"
    assert free_path(path) == path
    path.write_text("mine")
    assert free_path(path) == tmp_path / "run-2.toml"
    with pytest.raises(UserError, match="there is no folder"):
        free_path(tmp_path / "no" / "run.toml")


def test_the_command(photos, tmp_path):
    listed = tiny.snrlab("init", "--list")
    assert all(f"{name}: {load_preset(name).summary}" in listed.stdout for name in preset_names())
    assert "SDXL 12 GB" in listed.stdout
    (tmp_path / "run.toml").write_text("mine")
    done = tiny.snrlab("init", photos, "--model", "small", "--preset", "concept-lora", "--name", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in ("20 images, 20 captions in .txt", "model: small", "concept-lora:", "trigger word: zork figure",
                  "wrote run-2.toml", "snrlab train run-2.toml --check"):  # fmt: skip
        assert words in done.stdout, words
    assert (tmp_path / "run.toml").read_text() == "mine"
    assert tomllib.loads((tmp_path / "run-2.toml").read_text(encoding="utf-8"))["name"] == "mine"
    for arguments, message in ((["--model", "small"], "give a folder of images"), ([photos], "--model is missing")):
        failed = tiny.snrlab("init", *arguments)
        assert failed.returncode == 2
        assert message in failed.stderr


@pytest.mark.long
def test_from_two_commands_to_a_lora(photos, tmp_path):
    assert tiny.snrlab("init", photos, "--model", "small", "-o", "run.toml", cwd=tmp_path).returncode == 0
    options = [
        "--set",
        "train.steps=4",
        "--set",
        "sample.every=2",
        "--set",
        "output.every=2",
        "--set",
        "sample.steps=2",
    ]
    done = tiny.snrlab("train", "run.toml", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "My-photos" / "My-photos.safetensors").is_file()
    assert (tmp_path / "runs" / "My-photos" / "README.md").is_file()
