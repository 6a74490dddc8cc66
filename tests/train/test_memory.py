"""The memory estimate: what it counts is what is allocated, and full-size models fit where they should."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.profiler import ProfilerActivity, profile
from transformers import CLIPTextConfig, CLIPTextModel

import tiny
from snrlab.models.components import Components
from snrlab.models.encode import Text
from snrlab.train.batch import Batch
from snrlab.train.job import prepare
from snrlab.train.loop import steps
from snrlab.train.memory import estimate, estimate_of
from snrlab.train.networks import set_up_networks
from snrlab.train.trainable import trainable

GB = 10**9
THRIFTY_FULL = {
    "method": "full",
    "weights": "bf16",
    "optimizer": "adafactor",
    "fused_backward": True,
    "max_grad_norm": 0.0,
    "gradient_checkpointing": True,
}
SD15 = {"cross_attention_dim": 768, "attention_head_dim": 8}
SDXL = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
}


def allocated(compute):
    """Bytes that the allocator has given out at most while computing."""
    compute()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        compute()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        most = max(most, alive)
    return most


@pytest.mark.parametrize("options", [{}, {"text_encoder": True}, {"gradient_checkpointing": True}],
                         ids=["unet", "with-text", "checkpointing"])  # fmt: skip
def test_activations_are_what_the_allocator_gives(options, tiny_model, pictures):
    train = {"method": "full", "batch_size": 16, **options}
    job = prepare(tiny.run_config(tiny_model, pictures, train=train, data={"resolution": 64}))
    found = estimate(job)
    for parameter in job.parameters.values():
        parameter.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
    slots = range(16)

    def compute():
        batch = job.conditions.batch(job.components, 0, slots, job.device)
        timesteps = torch.zeros(16, dtype=torch.int64)
        job.components.unet(
            batch.x0, timesteps, encoder_hidden_states=batch.text.hidden
        ).sample.square().mean().backward()

    assert found.activations == pytest.approx(allocated(compute), rel=0.1)


@pytest.mark.parametrize("options", [{}, {"method": "full", "ema": 0.9}, {"method": "full", "optimizer": "adafactor"}])
def test_the_rest_is_exact(options, tiny_model, pictures):
    job = prepare(tiny.run_config(tiny_model, pictures, train=options))
    found = estimate(job)
    zero_grad, held = job.optimizer.zero_grad, []
    job.optimizer.zero_grad = lambda: (held.append(sum(p.grad.nbytes for p in job.parameters.values())), zero_grad())
    next(steps(job))
    state = [v for p in job.parameters.values() for v in job.optimizer.state[p].values() if isinstance(v, torch.Tensor)]
    assert found.gradients == held[0]
    assert found.optimizer == sum(v.nbytes for v in state)
    assert found.average == (sum(v.nbytes for v in job.ema.shadow_params) if job.ema else 0)
    networks = job.components.networks.values()
    assert found.weights == sum(t.nbytes for n in networks for t in (*n.parameters(), *n.buffers()))
    assert found.reserve == 0, "no GPU, no share of one"


def full_size(unet, train, pixels):
    """The estimate for a model of full size at batch 1, its text encoders and autoencoder gone."""
    with torch.device("meta"):
        network = UNet2DConditionModel(**unet)
        text_encoder = CLIPTextModel(CLIPTextConfig())
    dim = network.config.cross_attention_dim
    network.to(torch.bfloat16)
    components = Components(None, text_encoder, None, network, {}, "full size")
    lora = {} if train.get("method") == "full" else {"lora": {"rank": 16}}
    config = tiny.run_config("nowhere", "nowhere", train=train, model={"precision": "bf16"}, **lora)
    if config.train.method == "full" and config.train.weights == "fp32":
        network.float()
    components.freeze()
    set_up_networks(config, components)
    trained = trainable(config, components)
    latents = torch.empty(1, 4, pixels // 8, pixels // 8, device="meta")
    batch = Batch(latents, Text(torch.empty(1, 77, dim, device="meta")))
    return estimate_of(config.train, components, trained.parameters, batch, ["unet"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unet", "train", "pixels", "limit"),
    [
        pytest.param(SD15, {}, 512, 6, id="sd15-lora"),
        pytest.param(SDXL, {"gradient_checkpointing": True}, 1024, 12, id="sdxl-lora"),
        pytest.param(SDXL, THRIFTY_FULL, 1024, 24, id="sdxl-full"),
    ],
)
def test_full_size_models_fit(unet, train, pixels, limit):
    found = full_size(unet, train, pixels)
    assert found.total < limit * GB, str(found)
    assert found.total > found.weights + found.activations > GB


@pytest.mark.slow
def test_sdxl_needs_its_thrift():
    """Without what saves memory the same fine-tune is far beyond 24 GB."""
    assert full_size(SDXL, {"method": "full"}, 1024).total > 40 * GB
