"""Feature networks of the user's: small ones with random weights, made by the libraries themselves."""

import json
import pickle
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import load_file, save_file

import tiny
from snrlab import UserError
from snrlab.cli import main
from snrlab.config.sections.output import SampleConfig
from snrlab.data import emoji
from snrlab.evaluate.evaluation import evaluate_source, seen_by_lora
from snrlab.evaluate.features import open_net
from snrlab.evaluate.inception import Inception
from snrlab.evaluate.measures import measure
from snrlab.train import runner

PIXELS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
VISION = {"intermediate_size": 32, **PIXELS}
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)

# name: (the model, the image processor published with it, its features as its authors take them)
MODELS = {
    "Dinov2Model": (
        lambda: hf.Dinov2Model(hf.Dinov2Config(**PIXELS)),
        "BitImageProcessor",
        lambda m, x: m(x).last_hidden_state[:, 0],
    ),
    "Dinov2WithRegistersModel": (
        lambda: hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**PIXELS)),
        "BitImageProcessor",
        lambda m, x: m(x).last_hidden_state[:, 0],
    ),
    "CLIPModel": (
        lambda: hf.CLIPModel(hf.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8)),
        "CLIPImageProcessor",
        lambda m, x: m.visual_projection(m.vision_model(x).pooler_output),
    ),
    "CLIPVisionModel": (
        lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**VISION)),
        "CLIPImageProcessor",
        lambda m, x: m(x).pooler_output,
    ),
    "CLIPVisionModelWithProjection": (
        lambda: hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(projection_dim=8, **VISION)),
        "CLIPImageProcessor",
        lambda m, x: m(x).image_embeds,
    ),
    "SiglipModel": (
        lambda: hf.SiglipModel(hf.SiglipConfig(text_config=TEXT, vision_config=VISION)),
        "SiglipImageProcessor",
        lambda m, x: m.vision_model(x).pooler_output,
    ),
    "SiglipVisionModel": (
        lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**VISION)),
        "SiglipImageProcessor",
        lambda m, x: m(x).pooler_output,
    ),
    "ViTModel": (
        lambda: hf.ViTModel(hf.ViTConfig(**VISION)),
        "ViTImageProcessor",
        lambda m, x: m(x).last_hidden_state[:, 0],
    ),
    "ViTForImageClassification": (
        lambda: hf.ViTForImageClassification(hf.ViTConfig(**VISION)),
        "ViTImageProcessor",
        lambda m, x: m.vit(x).last_hidden_state[:, 0],
    ),
}


def save(name, folder):
    """A model folder as its authors publish one; the model."""
    make, processor, _ = MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = make().eval()
    model.save_pretrained(folder)
    square = processor in ("SiglipImageProcessor", "ViTImageProcessor")
    config = {
        "image_processor_type": processor,
        "do_resize": True,
        "size": {"height": 28, "width": 28} if square else {"shortest_edge": 32},
        "resample": 2 if square else 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    } | ({} if square else {"do_center_crop": True, "crop_size": {"height": 28, "width": 28}})
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return model


def prepared(pictures, square):
    """The same preparation by hand, [N, 3, 28, 28]."""
    arrays = []
    for picture in pictures:
        image = Image.fromarray(picture)
        if square:
            image = image.resize((28, 28), Image.Resampling.BILINEAR)
        else:
            image = image.resize((32, 32), Image.Resampling.BICUBIC).crop((2, 2, 30, 30))
        arrays.append((np.asarray(image) / 255 - MEAN) / STD)
    return torch.tensor(np.stack(arrays), dtype=torch.float32).permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", MODELS)
def test_features_are_the_models_own(name, tmp_path):
    model = save(name, tmp_path / "net")
    net = open_net(tmp_path / "net")
    pictures = emoji.images("noto")[:40]  # more than one batch
    with torch.no_grad():
        expected = MODELS[name][2](model, prepared(pictures, name.startswith(("Siglip", "ViT"))))
    assert torch.allclose(net.extract(pictures), expected, atol=2e-4)
    assert float(expected.std(0).mean()) > 0.01, "pictures are told apart"
    assert net.label.startswith("net (")


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets") / "dino-tiny"
    save("Dinov2Model", folder)
    return folder


def test_measures_by_another_network(dino):
    net = open_net(dino)
    codes = [c.code for c in emoji.concepts("ink")][:60]
    place = {c.code: i for i, c in enumerate(emoji.concepts("noto"))}
    noto = emoji.images("noto")[[place[c] for c in codes]]
    same_style, other = (measure(pictures, codes, "ink", net=net) for pictures in (emoji.images("ink")[:60], noto))
    by_classifier = measure(noto, codes, "ink")
    assert (same_style.net, other.net, by_classifier.net) == (net.label, net.label, "judge")
    assert same_style.distance == pytest.approx(0, abs=1e-5)
    assert same_style.match.mean() == 1
    a, b = net.extract(noto), net.extract(emoji.images("ink")[:60])
    assert other.distance == pytest.approx(1 - torch.cosine_similarity(a, b).numpy(), abs=1e-5)
    assert np.array_equal(other.style, by_classifier.style), "the style is the style classifier's, whatever the network"
    rows = np.arange(60)
    assert abs(same_style.kid(rows)) < 1e-9
    assert other.kid(rows) > 0
    assert other.kid(rows) != by_classifier.kid(rows)
    assert set(other.estimates()) == {"KID", "paired distance", "caption match", "style"}


def test_command_says_which_features(dino, tmp_path, monkeypatch, capsys):
    for concept, picture in zip(emoji.concepts("ink")[:30], emoji.images("ink")[:30], strict=True):
        Image.fromarray(picture).save(tmp_path / f"{concept.code}.png")

    def evaluated(*options):
        monkeypatch.setattr(sys, "argv", ["snrlab", "evaluate", str(tmp_path), *options])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
        return capsys.readouterr().out

    (row,) = json.loads(evaluated("--features", str(dino), "--format", "json"))["rows"]
    label = "dino-tiny (Dinov2Model)"
    assert row["features"] == {"KID": label, "paired distance": label, "caption match": label, "style": "judge"}
    assert row["measures"]["caption match"]["value"] == 1
    text = evaluated("--features", str(dino))
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert lines["KID"].endswith(label)
    assert lines["style"].endswith("judge")
    assert "FID" not in text
    lines = {line.split("  ")[0]: line for line in evaluated().splitlines()}
    assert {line.split()[-1] for name, line in lines.items() if name in row["measures"]} == {"judge"}


@pytest.fixture(scope="module")
def lora_run(tiny_model, pictures, tmp_path_factory):
    config = tiny.run_config(tiny_model, pictures, train={"steps": 3, "learning_rate": 3e-2})
    return runner.run(config, tmp_path_factory.mktemp("lora")).folder


SETTINGS = SampleConfig(steps=1, guidance=1.0)


@pytest.mark.long
def test_a_lora_by_another_network(lora_run, dino):
    net = open_net(dino)
    by_classifier, by_net = (evaluate_source(lora_run.path, "ink", SETTINGS, count=20, net=n) for n in (None, net))
    for row in by_net.rows:
        assert set(row.features.values()) == {net.label, "judge"}
    assert set(by_classifier.rows[1].features.values()) == {"judge"}
    one, other = by_classifier.rows[1], by_net.rows[1]
    assert one.measures["paired distance"] != other.measures["paired distance"]
    assert one.measures["style"] == other.measures["style"]
    assert one.loss == other.loss
    assert set(other.change) == set(other.measures)
    assert other.change["paired distance"].value != 0


@pytest.mark.long
def test_a_run_that_trained_all_weights_is_measured_against_its_base(tiny_model, pictures, tmp_path):
    config = tiny.run_config(tiny_model, pictures, train={"method": "full", "steps": 3, "learning_rate": 1e-2})
    run = runner.run(config, tmp_path).folder
    evaluation = evaluate_source(run.path, "ink", SETTINGS, count=20)
    base = evaluate_source(tiny_model, "ink", SETTINGS, count=20)
    after = evaluate_source(run.path / "tiny", "ink", SETTINGS, count=20)
    assert [row.name for row in evaluation.rows] == ["model", "all weights"]
    assert evaluation.rows[0] == base.rows[0]
    assert evaluation.rows[1].measures == after.rows[0].measures
    assert evaluation.rows[1].loss == after.rows[0].loss
    for band, change in evaluation.rows[1].loss_change.items():
        assert change.value == pytest.approx(after.rows[0].loss[band].value - base.rows[0].loss[band].value)
        assert change.value != 0


@pytest.mark.long
def test_what_a_lora_file_was_trained_on(tiny_model, lora_run, tmp_path):
    data = tiny.run_dict(tiny_model, tmp_path, train={"steps": 1, "batch_size": 1})
    data["data"] = {"shipped": "ink", "resolution": 16, "limit": 5}
    from snrlab.config import parse_run

    run = runner.run(parse_run(data), tmp_path / "runs").folder
    file = run.path / "tiny.safetensors"
    seen = seen_by_lora(file)
    assert len(seen) == 5
    evaluation = evaluate_source(tiny_model, "ink", SETTINGS, which="known", count=20, lora=file)
    assert evaluation.left_out == 5
    elsewhere = tmp_path / "lora.safetensors"
    elsewhere.write_bytes(file.read_bytes())
    assert seen_by_lora(elsewhere) is None
    assert evaluate_source(tiny_model, "ink", SETTINGS, count=20, lora=elsewhere).left_out is None
    with pytest.raises(UserError, match="--strength sets how much of a LoRA is used"):
        evaluate_source(tiny_model, "ink", SETTINGS, strengths=[0.5])


def inception_weights():
    """Weights that anyone can draw again, sized so that features neither vanish nor explode."""
    weights = {}
    for name, tensor in Inception().state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        draw = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(tensor.shape), dtype=np.float32)
        if name.endswith(("running_var", "bn.weight")):
            draw = 1 + np.abs(draw) / 4
        elif tensor.ndim == 4:
            draw *= (2 / tensor[0].numel()) ** 0.5
        else:
            draw /= 4
        weights[name] = torch.from_numpy(draw)
    return weights


# of FeatureExtractorInceptionV3 of torch-fidelity 0.4.0 with these weights: "2048", columns 0, 700, 1500, 2000
GOLDEN = [
    [3.1971977, 20.3438129, 18.5089245, 51.5547905],
    [3.1921241, 19.2058296, 17.2173977, 47.9689941],
    [3.2935696, 20.4582405, 18.2301369, 49.3755226],
    [3.3100777, 20.1682892, 17.430048, 51.1624947],
]


@pytest.mark.slow
def test_inception_gives_torch_fidelitys_features(tmp_path):
    weights = inception_weights()
    torch.save(weights, tmp_path / "pt_inception.pth")
    file = tmp_path / "inception.safetensors"
    save_file(weights, file)
    net = open_net(tmp_path / "pt_inception.pth")
    features = net.extract(emoji.images("noto")[:4])
    assert features.shape == (4, 2048)
    assert features[:, [0, 700, 1500, 2000]].numpy() == pytest.approx(np.array(GOLDEN), rel=1e-5)
    assert torch.equal(open_net(file).extract(emoji.images("noto")[:4]), features)
    assert net.label == "pt_inception.pth (Inception)"
    del weights["Mixed_7b.branch3x3_2a.conv.weight"]
    save_file(weights, file)
    with pytest.raises(UserError, match=r"Mixed_7b.branch3x3_2a.conv.weight.* does not fit"):
        open_net(file)


def broken(folder, name):
    """A folder or file with one thing wrong."""
    path = folder / name
    if name.startswith("net"):
        save("Dinov2Model", path)
    if name == "net-pickle":
        torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
        (path / "model.safetensors").unlink()
    elif name == "net-empty":
        (path / "model.safetensors").unlink()
    elif name == "net-cut":
        (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:200])
    elif name == "net-other":
        weights = load_file(path / "model.safetensors")
        del weights["layernorm.weight"]
        save_file(weights, path / "model.safetensors", {"format": "pt"})
    elif name == "net-shape":
        weights = load_file(path / "model.safetensors")
        save_file(weights | {"layernorm.weight": torch.zeros(7)}, path / "model.safetensors", {"format": "pt"})
    elif name == "net-bare":
        (path / "preprocessor_config.json").unlink()
    elif name == "net-text":
        (path / "preprocessor_config.json").write_text("{")
    elif name == "net-unknown-processor":
        (path / "preprocessor_config.json").write_text('{"image_processor_type": "CatImageProcessor"}')
    elif name == "net-no-config":
        (path / "config.json").unlink()
    elif name == "resnet":
        hf.ResNetModel(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])).save_pretrained(path)
    elif name == "weights.pth":
        path.write_bytes(pickle.dumps(print))
    elif name == "script.pt":
        with warnings.catch_warnings():  # it is deprecated, and still lies on many disks
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.script(torch.nn.Identity()), path)
    elif name == "other.safetensors":
        save_file({"a": torch.zeros(1)}, path)
    elif name == "other.pth":
        torch.save([torch.zeros(1)], path)
    elif name == "cut.safetensors":
        path.write_bytes(b"{")
    elif name == "picture.png":
        path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    {
        "nowhere": "there is no folder or file",
        "juge": "Did you mean 'judge'",
        "resnet": "holds a ResNetModel, which is not supported. Allowed: Dinov2Model",
        "net-pickle": "is a pickle",
        "net-empty": "has no model.safetensors",
        "net-cut": "does not load",
        "net-other": "layernorm.weight is missing or has another shape",
        "net-shape": "layernorm.weight is missing or has another shape",
        "net-bare": "has no preprocessor_config.json",
        "net-text": "cannot be read",
        "net-unknown-processor": "preprocessor in .* does not load",
        "net-no-config": "has no config.json",
        "weights.pth": "anything else in a pickle is refused",
        "script.pt": "does not load as plain weights",
        "other.safetensors": "does not hold the weights of the Inception",
        "other.pth": "does not hold the weights of the Inception",
        "cut.safetensors": "does not load as plain weights",
        "picture.png": "is not a weights file",
    }.items(),
)
def test_mistakes(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    broken(tmp_path, name)
    # the message is all that a user sees
    with warnings.catch_warnings(action="error"), pytest.raises(UserError, match=message):
        open_net(tmp_path.joinpath(name).relative_to(tmp_path))
