"""A LoRA in the weights is the LoRA on the model."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

import adapted
from adapted import CONV
from snrlab import UserError
from snrlab.cli import app
from snrlab.models.lora.adapter import Adapter
from snrlab.models.lora.adapters import trained_lora
from snrlab.models.lora.lora_file import load_lora, peft_tensors, write_lora
from snrlab.models.lora.merge import find_layer, merge_lora
from snrlab.models.storage.convert import save_model
from snrlab.models.storage.source import load_model

pytestmark = pytest.mark.numeric

FAMILIES = ["sd1", "sd2", "sdxl"]
CHOICES = {"LoCon": {"layers": CONV, "conv_rank": 2, "alpha": 3.0}, "DoRA": {"layers": CONV, "dora": True}}


def trained(family, choice):
    return adapted.trained(family, CHOICES[choice])


def lora_file(path, family, choice, form="kohya"):
    model = trained(family, choice)
    write_lora(path, trained_lora(model), {}, form, family, model.unet.config, torch.float32)
    return path


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("choice", CHOICES)
def test_merged_weights_predict_what_the_adapter_does(choice, family):
    model = trained(family, choice)
    merged = adapted.fresh(family)
    before = adapted.predict(merged)
    merge_lora(merged, trained_lora(model))
    assert torch.allclose(adapted.predict(merged), adapted.predict(model), atol=1e-5)
    assert (adapted.predict(merged) - before).abs().max() > 0.05


@pytest.mark.parametrize("strength", [0.7, -0.5])
def test_strengths_are_diffusers(strength):
    model = trained("sdxl", "LoCon")
    merged, other = adapted.fresh("sdxl"), adapted.fresh("sdxl")
    merge_lora(merged, trained_lora(model), strength)
    pipe = adapted.pipeline(other)
    pipe.load_lora_weights(peft_tensors(trained_lora(model), torch.float32), adapter_name="it")
    pipe.set_adapters(["it"], [strength])
    assert torch.allclose(adapted.predict(merged), adapted.predict(other), atol=1e-5)


@pytest.mark.parametrize("choice", CHOICES)
def test_strength_0_is_the_base(choice):
    base = adapted.fresh("sd1")
    before = adapted.predict(base)
    merge_lora(base, trained_lora(trained("sd1", choice)), 0.0)
    assert torch.equal(adapted.predict(base), before)


@pytest.mark.parametrize(("shape", "down"), [((6, 4), (2, 4)), ((6, 4, 3, 3), (2, 4, 3, 3))], ids=["matrix", "conv"])
def test_lengths_of_columns_as_older_programs_have_them(shape, down):
    """[1, in], against the definition: every column of the merged weight has that length."""
    generator = torch.Generator().manual_seed(0)
    weight, low = torch.randn(shape, generator=generator), torch.randn(down, generator=generator)
    up = torch.randn(6, 2, *[1] * (len(shape) - 2), generator=generator)
    lengths = torch.rand(1, 4, *[1] * (len(shape) - 2), generator=generator) + 1
    adapter = Adapter(low, up, 2.0, lengths)
    merged = adapter.merged(weight)
    others = (0, *range(2, len(shape)))
    assert torch.allclose(torch.linalg.vector_norm(merged, dim=others, keepdim=True), lengths)
    plain = weight + adapter.update()
    assert torch.allclose(torch.nn.functional.cosine_similarity(merged[:, 1].flatten(), plain[:, 1].flatten(), dim=0),
                          torch.tensor(1.0))  # fmt: skip


def test_another_familys_lora_is_refused_and_nothing_changes():
    base = adapted.fresh("sd1")
    before = adapted.predict(base)
    lora = trained_lora(trained("sdxl", "LoCon"))
    with pytest.raises(UserError, match=r"does not fit tiny-sd1, which has no unet|its update of unet"):
        merge_lora(base, lora)
    narrow = {path: Adapter(a.down[:, :3], a.up, a.alpha) for path, a in trained_lora(trained("sd1", "LoCon")).items()}
    with pytest.raises(UserError, match=r"its update of \S+ is \[\d+, 3"):
        merge_lora(base, narrow)
    assert torch.equal(adapted.predict(base), before)


def test_halves_are_added_in_fp32():
    base = adapted.fresh("sd1")
    lora = trained_lora(trained("sd1", "LoCon"))
    for network in base.networks.values():
        network.half()
    weights = {path: find_layer(base, path).weight.clone() for path in lora}
    merge_lora(base, lora)
    for path, adapter in lora.items():
        weight = find_layer(base, path).weight
        assert weight.dtype == torch.float16
        assert torch.equal(weight, (weights[path].float() + adapter.update().reshape(weight.shape)).half())


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("to", ["merged", "merged.safetensors"])
def test_the_command(to, tmp_path):
    """Two LoRAs with strengths into a checkpoint; the rest of it stays equal to the bit, and nothing is overwritten."""
    base = tmp_path / "base"
    base.mkdir()
    save_model(adapted.fresh("sd1"), base / "model", None)
    first = lora_file(tmp_path / "first.safetensors", "sd1", "LoCon")
    second = lora_file(tmp_path / "second.safetensors", "sd1", "DoRA", "peft")
    arguments = ("merge", base / "model", f"{first}:0.5", second, "-o", tmp_path / to)
    done = [command(*arguments) for _ in range(2)]
    assert [run.exit_code for run in done] == [0, 0], done[0].output
    stem, ending = ("merged", ".safetensors") if "." in to else ("merged", "")
    assert done[1].stdout.strip().endswith(f"{stem}-2{ending}")
    merged, wanted = load_model(tmp_path / to), load_model(base / "model")
    config = wanted.unet.config
    merge_lora(wanted, load_lora(first, config), 0.5)
    merge_lora(wanted, load_lora(second, config))
    wanted.freeze()
    merged.freeze()
    assert torch.equal(adapted.predict(merged), adapted.predict(wanted))
    for part, network in merged.networks.items():
        other = wanted.networks[part].state_dict()
        assert all(torch.equal(value, other[name]) for name, value in network.state_dict().items())
    if ending:
        with safe_open(str(tmp_path / to), framework="pt") as file:
            assert file.metadata()["modelspec.merged_from"] == "model, first:0.5, second:1"


def test_a_lora_converts_on_the_command_line(tmp_path):
    file = lora_file(tmp_path / "lora.safetensors", "sd1", "LoCon")
    converted = command("convert", file, "-o", tmp_path / "peft.safetensors")
    back = command("convert", tmp_path / "peft.safetensors", "-o", file)
    assert "as peft does" in converted.output
    assert back.stdout.strip().endswith("lora-2.safetensors"), back.output
    assert load_file(tmp_path / "lora-2.safetensors").keys() == load_file(file).keys()
    assert "which takes no option but --out" in str(command("convert", file, "--precision", "fp16").exception)
