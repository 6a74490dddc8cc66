"""What each option of [lora] changes, and those of [train] about which networks are trained and at which rate."""

import pytest
import torch
from safetensors.torch import load_file

import adapted
import tiny
from adapted import CONV
from effects import shows
from snrlab import UserError
from snrlab.models.lora.adapters import lora_layers, lora_parameters, start_from, trained_lora
from snrlab.train import runner
from snrlab.train.job import prepare
from snrlab.train.loop import steps
from snrlab.train.optim.trainable import trainable
from snrlab.train.outputs.export import export_result

KEPT = {"prompts": ["a"]}  # the text encoder stays where there is something to draw


@pytest.fixture
def train(tiny_model, pictures):
    """A job after its three steps, with these sections."""

    def run(take=3, **sections):
        settings = {"steps": 3, **sections.pop("train", {})}
        job = prepare(tiny.run_config(tiny_model, pictures, train=settings, **sections))
        for step in steps(job):
            if step.index + 1 == take:
                break
        return job

    return run


def adapters(job):
    return trained_lora(job.components)


def ranks(job):
    return {path: adapter.rank for path, adapter in adapters(job).items()}


def different(one, other):
    """Layers whose update is another one."""
    a, b = adapters(one), adapters(other)
    assert a.keys() == b.keys()
    return {path for path in a if not torch.equal(a[path].update(), b[path].update())}


@shows("lora.rank")
def test_rank(train):
    assert set(ranks(train(lora={"rank": 16})).values()) == {16}
    assert set(ranks(train(lora={"rank": 3})).values()) == {3}
    assert set(ranks(train(lora={})).values()) == {16}


@shows("lora.alpha")
def test_alpha_scales_the_update(train):
    plain, small = train(take=1), train(take=1, lora={"rank": 2, "alpha": 0.5})
    assert {a.alpha for a in adapters(plain).values()} == {2.0}
    for path, adapter in adapters(small).items():
        assert adapter.alpha == 0.5
        same = adapters(plain)[path]
        # the first step of AdamW hardly knows the gradient's scale, so the matrices agree and the updates do not
        assert (adapter.up - same.up).abs().mean() < 1e-2 * same.up.abs().mean()
        assert (4 * adapter.update() - same.update()).abs().mean() < 1e-2 * same.update().abs().mean()


@shows("lora.layers")
def test_layers(train):
    linear, conv = set(ranks(train(lora={"rank": 2}))), set(ranks(train(lora={"rank": 2, "layers": CONV})))
    assert conv > linear
    assert all(any(k in path for k in (".resnets.", "samplers.")) for path in conv - linear)
    attention = set(ranks(train(lora={"rank": 2, "layers": ["attention"]})))
    assert attention < linear
    assert all(".attn" in path for path in attention)


@shows("lora.conv_rank", "lora.conv_alpha")
def test_convolutions_have_a_rank_and_an_alpha_of_their_own(train):
    job = train(take=1, lora={"rank": 2, "layers": CONV, "conv_rank": 3, "conv_alpha": 1.0})
    same = train(take=1, lora={"rank": 2, "layers": CONV})
    ranks_and_alphas = {}
    for adapter in adapters(job).values():
        kernel = adapter.down.shape[2:] not in ((), (1, 1))
        ranks_and_alphas.setdefault(kernel, set()).add((adapter.rank, adapter.alpha))
    assert ranks_and_alphas == {True: {(3, 1.0)}, False: {(2, 2.0)}}
    assert {(a.rank, a.alpha) for a in adapters(same).values()} == {(2, 2.0)}


@shows("lora.block_ranks", "lora.block_alphas", "lora.conv_block_ranks", "lora.conv_block_alphas")
def test_blocks_have_ranks_and_alphas_of_their_own(train):
    lora = {
        "rank": 2, "layers": CONV, "block_ranks": {"mid_block": 5, "mid_block.resnets": 4, "up_blocks.0": 0},
        "block_alphas": {"down_blocks.1": 1.0}, "conv_block_ranks": {"down_blocks": 3},
        "conv_block_alphas": {"down_blocks.0": 7.0},
    }  # fmt: skip
    plain = adapters(train(take=1, lora={"rank": 2, "layers": CONV}))
    assert {(a.rank, a.alpha) for a in plain.values()} == {(2, 2.0)}
    by_block = adapters(train(take=1, lora=lora))

    def wanted(path, convolution):
        block = path.removeprefix("unet.")
        if convolution:
            rank = 3 if block.startswith("down_blocks") else 2
            return rank, 7.0 if block.startswith("down_blocks.0") else float(rank)
        rank = 4 if block.startswith("mid_block.resnets") else 5 if block.startswith("mid_block") else 2
        return (
            (0, None) if block.startswith("up_blocks.0") else (rank, 1.0 if "down_blocks.1" in block else float(rank))
        )

    for path, before in plain.items():
        rank, alpha = wanted(path, before.down.shape[2:] == (3, 3))
        assert (path in by_block) == (rank > 0), path
        assert not rank or (by_block[path].rank, by_block[path].alpha) == (rank, alpha), path


@shows("lora.dora")
def test_dora_trains_lengths_and_changes_nothing_at_first(train, tiny_model, pictures):
    loras = ({"rank": 2, "dora": dora} for dora in (False, True))
    configs = [tiny.run_config(tiny_model, pictures, lora=lora, sample=KEPT) for lora in loras]
    before, fresh = (adapted.predict(prepare(config).components) for config in configs)
    assert torch.allclose(fresh, before, atol=1e-5)
    plain, job = train(), train(lora={"rank": 2, "dora": True})
    for path, layer in lora_layers(job.components).items():
        lengths = torch.linalg.vector_norm(layer.get_base_layer().weight.flatten(1), dim=1)
        magnitude = adapters(job)[path].magnitude
        assert magnitude.shape[0] == len(lengths)
        assert (magnitude.flatten() - lengths).abs().max() > 1e-4, "trained"
    assert all(adapter.magnitude is None for adapter in adapters(plain).values())


@shows("lora.dropout", "lora.rank_dropout", "lora.module_dropout")
@pytest.mark.parametrize("kind", ["dropout", "rank_dropout", "module_dropout"])
def test_dropouts_change_the_training_but_not_what_is_sampled(kind, train):
    plain, dropped = train(sample=KEPT), train(lora={"rank": 2, kind: 0.5}, sample=KEPT)
    assert different(plain, dropped) == set(adapters(plain))
    predicted = adapted.predict(dropped.components)
    other = prepare(plain.config).components
    start_from(other, adapters(dropped), "the same values")  # in a model without dropout
    assert torch.equal(predicted, adapted.predict(other))


@shows("lora.loraplus_ratio")
def test_the_up_matrices_learn_faster(train):
    plain, plus = train(take=1), train(take=1, lora={"rank": 2, "loraplus_ratio": 4.0})
    for name, rate in plus.trained.rates.items():
        assert rate == pytest.approx(plain.trained.rates[name] * (4 if ".lora_B." in name else 1))
    a, b = adapters(plain), adapters(plus)
    assert all(torch.equal(a[path].down, b[path].down) for path in a)
    assert all(torch.allclose(b[path].up, 4 * a[path].up, rtol=1e-4) for path in a)


@shows("lora.max_norm")
def test_no_update_is_longer_than_allowed(train):
    lengths = [float(torch.linalg.vector_norm(a.update())) for a in adapters(train()).values()]
    limit = sorted(lengths)[len(lengths) // 2]
    limited = adapters(train(lora={"rank": 2, "max_norm": limit}))
    after = [float(torch.linalg.vector_norm(a.update())) for a in limited.values()]
    assert max(lengths) > limit
    assert max(after) <= limit * (1 + 1e-5)
    assert any(value == pytest.approx(limit, rel=1e-5) for value in after), "shrunk to it, not below"


@shows("lora.start_from")
def test_starting_from_a_file(train, tiny_model, pictures, tmp_path):
    first = train(lora={"rank": 2, "layers": CONV, "alpha": 1.0})
    for form in ("kohya", "peft"):
        config = first.config.model_copy(
            update={"output": first.config.output.model_copy(update={"lora_format": form})}
        )
        file = tmp_path / f"{form}.safetensors"
        export_result(first.__class__(**{**vars(first), "config": config}), file, 3)
        lora = {"rank": 2, "layers": CONV, "alpha": 1.0, "start_from": str(file)}
        again = prepare(tiny.run_config(tiny_model, pictures, lora=lora))
        fresh = prepare(tiny.run_config(tiny_model, pictures, lora={**lora, "start_from": None}))
        for path, adapter in adapters(first).items():
            assert torch.allclose(adapters(again)[path].update(), adapter.update(), atol=1e-7)
            assert not adapters(fresh)[path].update().any()
    for lora, message in (
        ({"rank": 3, "layers": CONV}, r"the rank of unet\.\S+ is 2 in peft.safetensors, here 3"),
        ({"rank": 2}, "peft.safetensors has an adapter on unet.*, this run has none there"),
        ({"rank": 2, "layers": CONV, "dora": True}, "the dora of"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(tiny.run_config(tiny_model, pictures, lora={**lora, "start_from": str(file)}))


@shows("train.unet", "train.text_encoder")
def test_a_network_that_is_off_is_absent_from_the_file(tiny_model, pictures, tmp_path):
    prefixes = {}
    for name, train in {
        "default": {}, "both": {"text_encoder": True}, "text": {"unet": False, "text_encoder": True},
    }.items():  # fmt: skip
        config = tiny.run_config(tiny_model, pictures, train={"steps": 2, **train})
        outcome = runner.run(config, tmp_path / name)
        tensors = load_file(outcome.folder.result(outcome.config))
        prefixes[name] = {key.split("_")[1] for key in tensors}
        assert all(tensor.any() for key, tensor in tensors.items() if "lora_up" in key), "all of them are trained"
    assert prefixes == {"default": {"unet"}, "both": {"unet", "te"}, "text": {"te"}}


@pytest.mark.parametrize("method", ["lora", "full"])
@shows("train.text_encoder_2")
def test_the_second_text_encoder(method, tiny_model, pictures):
    for train, parts in (
        ({}, {"unet"}),
        ({"text_encoder_2": True}, {"unet", "text_encoder_2"}),
        ({"text_encoder": True, "text_encoder_2": True, "unet": False}, {"text_encoder", "text_encoder_2"}),
    ):
        config = tiny.run_config(tiny_model, pictures, train={"method": method, **train})
        model = adapted.fresh("sdxl")
        trained = trainable(config, model)
        assert {name.partition(".")[0] for name in trained.parameters} == parts
        for part, network in model.networks.items():
            assert any(p.requires_grad for p in network.parameters()) == (part in parts)
        if method == "lora":
            assert {path.partition(".")[0] for path in trained_lora(model)} == parts
    config = tiny.run_config(tiny_model, pictures, train={"text_encoder_2": True})
    with pytest.raises(UserError, match=r"train.text_encoder_2: .* has no second text encoder"):
        prepare(config)


@pytest.mark.parametrize("method", ["lora", "full"])
@shows("train.unet_learning_rate", "train.text_encoder_learning_rate", "train.text_encoder_2_learning_rate")
def test_networks_have_rates_of_their_own(method, tiny_model, pictures):
    train = {"method": method, "text_encoder": True, "text_encoder_2": True, "learning_rate": 1e-3}
    separate = {"unet_learning_rate": 1e-4, "text_encoder_learning_rate": 1e-5, "text_encoder_2_learning_rate": 1e-6}
    for more, wanted in (({}, (1e-3,) * 3), (separate, (1e-4, 1e-5, 1e-6))):
        config = tiny.run_config(tiny_model, pictures, train={**train, **more})
        trained = trainable(config, adapted.fresh("sdxl"))
        rates = {}
        for name, rate in trained.rates.items():
            rates.setdefault(name.partition(".")[0], set()).add(rate)
        assert rates == {p: {r} for p, r in zip(("unet", "text_encoder", "text_encoder_2"), wanted, strict=True)}


def test_a_rate_reaches_the_weights(train):
    slow = train(take=1, train={"text_encoder": True, "text_encoder_learning_rate": 1e-6})
    plain = train(take=1, train={"text_encoder": True})
    for path, adapter in adapters(plain).items():
        ratio = float(adapters(slow)[path].up.abs().max() / adapter.up.abs().max())
        assert ratio == pytest.approx(1e-4 if path.startswith("text_encoder") else 1, rel=1e-3)


@shows("output.lora_format")
def test_the_layout_of_the_file(train, tmp_path):
    job = train()
    for form, beginning in (("kohya", "lora_unet_"), ("peft", "unet.")):
        config = job.config.model_copy(update={"output": job.config.output.model_copy(update={"lora_format": form})})
        export_result(job.__class__(**{**vars(job), "config": config}), tmp_path / form, 3)
        assert all(key.startswith(beginning) for key in load_file(tmp_path / form))


MISTAKES = {
    "conv_rank without convolutions": ({"lora": {"conv_rank": 2}}, "conv_rank is set but layers has no"),
    "dropout with dora": ({"lora": {"dora": True, "rank_dropout": 0.1}}, "rank_dropout cannot go with dora"),
    "an unknown block": ({"lora": {"block_ranks": {"down_block.1": 2}}}, "Did you mean 'down_blocks.1'"),
    "a block without such layers": (
        {"lora": {"block_ranks": {"down_blocks.0": 2}}}, "lora.block_ranks: 'down_blocks.0' is not known",
    ),
    "a block of a network that is off": (
        {"lora": {"block_ranks": {"mid_block": 2}}, "train": {"unet": False, "text_encoder": True}},
        "train.unet is false",
    ),
    "no block left": ({"lora": {"block_ranks": {"down_blocks": 0, "mid_block": 0, "up_blocks": 0}}}, "0 everywhere"),
    "convolutions of a text encoder": (
        {"lora": {"layers": ["convolution"]}, "train": {"text_encoder": True}}, "of which it has none",
    ),
    "nothing to train": ({"train": {"unet": False}}, "there is nothing to train"),
    "a rate of what is off": ({"train": {"text_encoder_learning_rate": 1e-5}}, "text_encoder is not trained"),
    "no such file": ({"lora": {"start_from": "nowhere.safetensors"}}, "lora.start_from: there is no file"),
    "a pickle": ({"lora": {"start_from": "old.pt"}}, "is a pickle"),
    "a negative rank": ({"lora": {"block_ranks": {"mid_block": -1}}}, "lora.block_ranks.mid_block is -1"),
    "layout of a full fine-tune": (
        {"output": {"lora_format": "peft"}, "train": {"method": "full"}}, "output.lora_format is set",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name, tiny_model, pictures):
    sections, message = MISTAKES[name]
    with pytest.raises(UserError, match=message):
        prepare(tiny.run_config(tiny_model, pictures, **sections))


def test_frozen_weights_stay(train, tiny_model, pictures):
    """Whatever is trained: no weight of the base changes."""
    lora = {"rank": 2, "layers": CONV, "dora": True, "max_norm": 0.1}
    before = prepare(tiny.run_config(tiny_model, pictures, train={"text_encoder": True, "steps": 3}, lora=lora))
    start = base_weights(before)
    job = train(train={"text_encoder": True}, lora=lora)
    after = base_weights(job)
    assert start.keys() == after.keys()
    assert all(torch.equal(start[name], after[name]) for name in start)
    assert len(start) > 100
    assert {name for name, p in lora_parameters(job.components)} == set(job.parameters)


def base_weights(job):
    return {
        f"{part}.{name}": value
        for part, network in job.components.networks.items()
        for name, value in network.state_dict().items()
        if ".lora_" not in name and not value.is_meta  # what the steps do not need is gone
    }
