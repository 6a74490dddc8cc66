"""The scripts that made what ships still run, on a small scale."""

import importlib.util
import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import tiny_families
from snrlab.data import emoji
from snrlab.evaluate import style_classifier as shipped_classifier
from snrlab.evaluate.open_model import open_model
from snrlab.model_files.model_facts import shipped_folder
from snrlab.models.storage.save_single_file import save_single_file
from snrlab.models.storage.source import load_model
from snrlab.train import runner

ROOT = Path(__file__).parent.parent


def script(name):
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
def test_the_base_can_be_rebuilt(tmp_path):
    before = {p: p.stat().st_mtime for p in (ROOT / "src" / "snrlab" / "models").rglob("*.safetensors")}
    script("build_base").main(["--state", str(tmp_path), "--dry-run"])
    assert {p: p.stat().st_mtime for p in before} == before, "a dry run leaves the package alone"
    assert (tmp_path / "base" / "base" / "model_index.json").is_file()
    made = {name: load_model(tmp_path / "models" / name) for name in ("small", "small_v")}
    for name, model in made.items():
        shipped = load_model(shipped_folder(name))
        assert model.scheduler_config == shipped.scheduler_config
        for part in ("vae", "unet", "text_encoder"):
            new, old = (getattr(m, part).state_dict() for m in (model, shipped))
            assert {k: v.shape for k, v in new.items()} == {k: v.shape for k, v in old.items()}
            assert not all(torch.equal(v, old[k]) for k, v in new.items()), f"{part} of {name} was trained anew"
    assert torch.equal(made["small"].vae.decoder.conv_in.weight, made["small_v"].vae.decoder.conv_in.weight)
    record = json.loads((tmp_path / "models" / "small_v" / "training.json").read_text())
    assert record["steps"] == 4


def package(path, files):
    """A file as `npm pack` makes it."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def encoded(pixels, kind):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"lossless": True, "exact": True} if kind == "webp" else {}))
    return file.getvalue()


def test_the_emoji_can_be_rebuilt(tmp_path):
    """Packages made of the shipped pictures, of a flag, a skin tone and a concept that Fluent lacks."""
    build_emoji, count = script("build_emoji"), 12
    build_emoji.COLUMNS = 8
    concepts = {s: emoji.concepts(s) for s in emoji.drawn_styles()}
    codes = [c.code for c in concepts["noto"][:count]]
    picture = {s: {c.code: p for c, p in zip(concepts[s], emoji.images(s), strict=True)} for s in concepts}
    red = np.zeros((160, 160, 4), np.uint8)
    red[:, :80] = (255, 0, 0, 128)
    groups = {name: number for number, name in build_emoji.GROUPS.items()}
    listed = [{"hexcode": c.code.upper(), "label": c.name.title(), "tags": [c.name, *c.tags], "group": groups[c.group]}
              for c in reversed(concepts["noto"][:count])]  # fmt: skip
    listed += [
        {"hexcode": "1F1E6-1F1E8", "label": "a flag", "tags": [], "group": 9},
        {"hexcode": "1F3FB", "label": "a skin tone", "group": 2},
        {"hexcode": "1FAE8", "label": "not in Fluent", "tags": ["shaking"], "group": 0},
    ]
    files = {
        build_emoji.NOTO: {f"img/google/64/{c}-fe0f.png": encoded(picture["noto"][c], "png") for c in codes}
        | {f"img/google/64/{c}.png": encoded(red, "png") for c in ("1f1e6-1f1e8", "1f3fb", "1fae8")},
        build_emoji.FLUENT: {f"assets/{c}.webp": encoded(picture["fluent_3d"][c], "webp") for c in codes[:-1]}
        | {f"assets/{codes[-1]}.webp": encoded(red, "webp")},
        build_emoji.ANNOTATIONS: {"en/data.json": json.dumps(listed).encode()},
    }
    packages = {
        spec: build_emoji.Package(package(tmp_path / f"{i}.tgz", content))
        for i, (spec, content) in enumerate(files.items())
    }
    inked = [c for c in codes if c in picture["ink"]]
    build_emoji.build(packages, {c: encoded(picture["ink"][c], "png") for c in inked[1:]}, tmp_path / "made")
    listing = json.loads((tmp_path / "made" / "concepts.json").read_text())
    shipped = json.loads((Path(emoji.__file__).parent / "concepts.json").read_text())
    assert listing["concepts"] == shipped["concepts"][:count], "names, tags and order, without the three others"
    assert listing["styles"]["ink"]["missing"] == [c for c in codes if c not in inked[1:]]
    for style, wanted in (("noto", codes), ("fluent_3d", codes[:-1]), ("ink", inked[1:])):
        sheet = np.asarray(Image.open(tmp_path / "made" / f"{style}.webp").convert("RGB"))
        for place, code in enumerate(wanted):
            y, x = place // listing["columns"] * 64, place % listing["columns"] * 64
            assert np.array_equal(sheet[y : y + 64, x : x + 64], picture[style][code]), (style, code)
    last = np.asarray(Image.open(tmp_path / "made" / "fluent_3d.webp").convert("RGB"))
    y, x = (count - 1) // listing["columns"] * 64, (count - 1) % listing["columns"] * 64
    assert last[y + 32, x + 8].tolist() == [255, 127, 127], "scaled down, and half red on white is pink"
    assert last[y + 32, x + 60].tolist() == [255, 255, 255]


def test_ink_drawings_are_whole_svgs(tmp_path):
    build_emoji = script("build_emoji")
    icons = {"width": 32, "height": 32, "icons": {"cat": {"body": '<path d="M0 0h1v1z"/>'}}}
    chars = {"1F431": "cat", "1f436-fe0f": "dog"}
    made = package(
        tmp_path / "a.tgz", {"icons.json": json.dumps(icons).encode(), "chars.json": json.dumps(chars).encode()}
    )
    drawings = build_emoji.ink_drawings(build_emoji.Package(made))
    assert list(drawings) == ["1f431"], "what has no drawing is left out"
    assert drawings["1f431"].startswith('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"')
    assert icons["icons"]["cat"]["body"] in drawings["1f431"]


def test_a_download_with_another_hash_is_refused(tmp_path):
    build_emoji = script("build_emoji")
    (tmp_path / "emojibase-data-17.0.0.tgz").write_bytes(b"something else")
    with pytest.raises(SystemExit, match="sha256"):
        build_emoji.fetch(build_emoji.ANNOTATIONS, tmp_path)


@pytest.mark.long
def test_no_operation_depends_on_its_place_in_memory(capsys):
    """As a run computes them, with the shapes of the small model; nor on the process."""
    assert script("reproducibility").main(["--dry-run"]) == 0
    printed = capsys.readouterr().out
    for kind in ("again", "place in memory", "process"):
        assert f"  {kind}: 0 of 44 give other bits" in printed
    assert "conv 3x3 64>64 at 16x16 float32" in printed


@pytest.mark.slow
def test_the_tokenizer_can_be_rebuilt_byte_for_byte(tmp_path):
    script("build_tokenizer").build(tmp_path)
    shipped = shipped_folder("small") / "tokenizer"
    assert {f.name for f in tmp_path.iterdir()} == {f.name for f in shipped.iterdir()}
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (shipped / file.name).read_bytes(), file.name


@pytest.mark.slow
def test_the_style_classifier_can_be_trained(tmp_path, capsys):
    script("train_judge").main(["--steps", "2", "--target", str(tmp_path / "judge")])
    assert "unseen concepts (62)" in capsys.readouterr().out
    own = Path(shipped_classifier.__file__).parent
    new, old = (load_file(folder / "judge.safetensors") for folder in (tmp_path / "judge", own))
    assert {k: (v.shape, v.dtype) for k, v in new.items()} == {k: (v.shape, v.dtype) for k, v in old.items()}
    assert not all(torch.equal(v, old[k]) for k, v in new.items())
    facts, facts_shipped = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "judge", own))
    assert facts["styles"] == facts_shipped["styles"]
    assert facts["style_weight"] != facts_shipped["style_weight"], "measured on the network that was trained"


@pytest.mark.long
def test_the_card_can_be_written(tmp_path):
    build_card = script("build_card")
    text = build_card.build(tmp_path / "card", 20, build_card.SETTINGS.model_copy(update={"steps": 1}))
    assert (tmp_path / "card" / "README.md").read_text() == text
    shipped = shipped_folder("small") / "README.md"
    headings, shipped_headings = (
        [line for line in t.splitlines() if line.startswith("#")] for t in (text, shipped.read_text())
    )
    assert headings == shipped_headings
    assert "DDIM, 1 steps" in text, "its figures are of what was asked for"
    assert Image.open(tmp_path / "card" / "samples.png").size == Image.open(shipped.with_name("samples.png")).size


@pytest.mark.long
def test_the_autoencoder_is_as_good_as_its_card_says():
    psnr_by_style = script("build_card").reconstruction(open_model(Path("small")))
    assert set(psnr_by_style) == set(emoji.drawn_styles())
    assert min(psnr_by_style.values()) >= 29
    quality = ", ".join(f"{style} {value:.2f} dB" for style, value in psnr_by_style.items())
    assert quality in (shipped_folder("small") / "README.md").read_text()


@pytest.mark.long
def test_the_full_size_jobs_on_tiny_models(tmp_path, monkeypatch):
    """The same jobs by the same code, one of them in a process of its own; models that are there are not built."""
    monkeypatch.setattr(runner, "prepare", runner.prepare)  # which a job watches for as long as its process lasts
    full_size = script("full_size")
    for family in ("sd1", "sdxl"):
        save_single_file(tiny_families.family(family), tmp_path / f"{family}.safetensors", torch.bfloat16)
    log = tmp_path / "log"
    full_size.main(["--state", str(tmp_path), "--log", str(log), "sdxl-lora"])
    (line,) = log.read_text().splitlines()[2:]
    assert line.startswith("sdxl-lora: ")
    assert "tensors_trained" in line
    assert full_size.train("sd1-full", tmp_path)["tensors_trained"] > 0
