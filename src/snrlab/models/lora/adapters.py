"""LoRA adapters on a model, through peft: which layers get one, with which rank, and reading them back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from peft import LoraConfig as PeftConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from snrlab.config.sections.lora import LoraConfig, LoraLayers
from snrlab.core.errors import UserError, unknown
from snrlab.models.components import Components
from snrlab.models.lora.adapter import Adapter
from snrlab.models.lora.lora_file import Lora

ADAPTER = "default"

# module names by layer kind; kohya's plain LoRA is attention and feed_forward, its LoCon has convolution too
UNET_TARGETS: dict[LoraLayers, str] = {
    "attention": r"to_q|to_k|to_v|to_out\.0",
    "feed_forward": r"ff\.net\.0\.proj|ff\.net\.2|proj_in|proj_out",
    "convolution": r"conv1|conv2|conv_shortcut|time_emb_proj|(down|up)samplers\.\d+\.conv",
}
TEXT_TARGETS: dict[LoraLayers, str] = {"attention": r"[qkv]_proj|out_proj", "feed_forward": "fc1|fc2"}


class AdapterSize(NamedTuple):
    """Rank and alpha of an adapter."""

    rank: int
    alpha: float


def add_lora(components: Components, config: LoraConfig, parts: Sequence[str], seed: int) -> None:
    """Add trainable adapters to layers of these networks.

    The down matrix starts as Kaiming-uniform noise drawn from the seed, the up matrix as 0, and DoRA's magnitudes as
    the row norms of the weight, so that the model is unchanged at first. The caller's random state is untouched.

    Raises:
        UserError: an unknown block, or a network without a layer of the requested kinds.
    """
    plans = {part: adapter_sizes(components.networks[part], part, config) for part in parts}
    # peft initialises from torch's global generator: lend it our seed, then give it back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part, plan in plans.items():
            components.networks[part].add_adapter(_peft_config(plan, config.dora))
    for _, parameter in lora_parameters(components):
        parameter.data = parameter.data.float()
    for layer in lora_layers(components).values():
        if config.dora:
            _init_magnitude(layer)
        else:  # autocast would make inputs half again: each adapter would keep a copy for the backward pass
            layer.cast_input_dtype_enabled = False


def adapter_sizes(network: nn.Module, part: str, config: LoraConfig) -> dict[str, AdapterSize]:
    """The layers of a network that get an adapter, with its size, in the network's order.

    Raises:
        UserError: an unknown block, or no layer at all.
    """
    targets = UNET_TARGETS if part == "unet" else TEXT_TARGETS
    kinds = "|".join(targets[kind] for kind in config.layers if kind in targets)
    pattern = re.compile(rf".*\.({kinds})" if kinds else "(?!)")
    layers = {name: module for name, module in network.named_modules() if pattern.fullmatch(name)}
    if not layers:
        raise UserError(
            f"train.{part}: lora.layers is {config.layers}, of which it has none; leave it out.", code="unused-option"
        )
    if part == "unet":
        _check_blocks(layers, config)
    sizes = {name: _layer_size(name, module, part, config) for name, module in layers.items()}
    if not any(size.rank for size in sizes.values()):
        raise UserError(
            f"lora.block_ranks is 0 everywhere: no adapter is left; set train.{part} = false instead.",
            code="nothing-to-do",
        )
    return {name: size for name, size in sizes.items() if size.rank}


def lora_layers(components: Components) -> dict[str, LoraLayer]:
    """Layers with a trained adapter, by path, in a fixed order."""
    return {
        adapter_layer_path(part, name): module
        for part in ("unet", "text_encoder", "text_encoder_2")
        if part in components.networks
        for name, module in components.networks[part].named_modules()
        if isinstance(module, LoraLayer) and ADAPTER in module.lora_A
    }


def lora_parameters(components: Components) -> Iterator[tuple[str, nn.Parameter]]:
    """Adapter weights by name, in a fixed order."""
    for part in ("unet", "text_encoder", "text_encoder_2"):
        if part in components.networks:
            for name, parameter in components.networks[part].named_parameters():
                if ".lora_" in name:
                    yield f"{part}.{name}", parameter


def trained_lora(components: Components) -> Lora:
    """The current adapters, by the path of their layer."""
    return {path: _read_adapter(layer) for path, layer in lora_layers(components).items()}


def start_from(components: Components, lora: Lora, source: str) -> None:
    """Initialise the adapters from a LoRA with the same layers and ranks; its alphas may differ.

    Raises:
        UserError: layers, ranks or shapes differ.
    """
    layers = lora_layers(components)
    for path in sorted(layers.keys() ^ lora.keys()):
        where, lacks = (source, "this run") if path in lora else ("this run", source)
        raise UserError(
            f"lora.start_from: {where} has an adapter on {path}, {lacks} has none there.", code="does-not-fit-model"
        )
    for path, layer in layers.items():
        current, start = _read_adapter(layer), lora[path]
        for name, value, given in (
            ("rank", current.rank, start.rank),
            ("dora", current.magnitude is not None, start.magnitude is not None),
            ("shape", current.shape, start.shape),
        ):
            if value != given:
                raise UserError(
                    f"lora.start_from: the {name} of {path} is {given} in {source}, here {value}.",
                    code="does-not-fit-model",
                )
        values = [(layer.lora_A, start.down), (layer.lora_B, start.with_alpha(current.alpha).up)]
        if start.magnitude is not None:
            values.append((layer.lora_magnitude_vector, start.magnitude))
        for module, tensor in values:
            weight = module[ADAPTER].weight
            weight.data.copy_(tensor.reshape(weight.shape))


@torch.no_grad()
def limit_norms(layers: Iterable[LoraLayer], max_norm: float) -> None:
    """Scale updates down to a maximum Frobenius norm, the down and up matrices by the same factor.

    |B A|^2 = sum (A A^T) * (B^T B): no matrix of the weight's size is needed.
    """
    for layer in layers:
        down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        a, b = down.flatten(1), up.flatten(1)
        norm = layer.scaling[ADAPTER] * ((a @ a.T) * (b.T @ b)).sum().clamp(min=0).sqrt()
        factor = (max_norm / norm).clamp(max=1).sqrt()
        down.mul_(factor)
        up.mul_(factor)


def adapter_layer_path(part: str, name: str) -> str:
    """The path of a network's layer, with the level `text_model` that transformers 5 dropped from one text encoder."""
    if part != "unet" and not name.startswith(("text_model.", "text_projection")):
        name = f"text_model.{name}"
    return f"{part}.{name}"


def _layer_size(name: str, module: nn.Module, part: str, config: LoraConfig) -> AdapterSize:
    rank, alpha = config.rank, config.alpha
    convolution = _is_convolution(module)
    if convolution:
        rank, alpha = config.conv_rank or rank, config.conv_alpha or alpha
    if part == "unet":
        tables = (config.conv_block_ranks, config.conv_block_alphas)
        ranks, alphas = tables if convolution else (config.block_ranks, config.block_alphas)
        if (block := _longest_block(name, ranks)) is not None:
            rank = ranks[block]
        if (block := _longest_block(name, alphas)) is not None:
            alpha = alphas[block]
    return AdapterSize(rank, float(alpha or rank))


def _is_convolution(module: nn.Module) -> bool:
    """Whether a layer counts as a convolution: a 1 x 1 kernel counts as a linear layer."""
    return isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)


def _longest_block(name: str, table: Mapping[str, object]) -> str | None:
    """The longest block of the table that a layer is in."""
    return max((block for block in table if f"{name}.".startswith(f"{block}.")), key=len, default=None)


def _check_blocks(layers: Mapping[str, nn.Module], config: LoraConfig) -> None:
    for field in ("block_ranks", "block_alphas", "conv_block_ranks", "conv_block_alphas"):
        names = [name for name, module in layers.items() if _is_convolution(module) == field.startswith("conv")]
        blocks = sorted({re.match(r"mid_block|\w+\.\d+", name)[0] for name in names})  # type: ignore[index]  # every layer is in a block
        for block in getattr(config, field):
            if not any(_longest_block(name, {block: None}) for name in names):
                raise unknown(f"lora.{field}", block, blocks)


def _peft_config(plan: Mapping[str, AdapterSize], dora: bool) -> PeftConfig:
    rank, alpha = (Counter(column).most_common(1)[0][0] for column in zip(*plan.values(), strict=True))
    return PeftConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=_alternatives(plan),
        rank_pattern=_patterns({name: size.rank for name, size in plan.items() if size.rank != rank}),
        alpha_pattern=_patterns({name: size.alpha for name, size in plan.items() if size.alpha != alpha}),
        use_dora=dora,
    )


def _patterns(values: Mapping[str, float]) -> dict[str, float]:
    """Values by regular expression, one for each distinct value: peft tries them in turn for every layer."""
    return {_alternatives(n for n, v in values.items() if v == value): value for value in sorted(set(values.values()))}


def _alternatives(names: Iterable[str]) -> str:
    return "|".join(map(re.escape, names))


def _init_magnitude(layer: LoraLayer) -> None:
    """Set the magnitude to the weight's row norms in fp32; peft computes them in the weight's number format."""
    weight = layer.get_base_layer().weight
    norms = torch.linalg.vector_norm(weight.detach().float().flatten(1), dim=1)
    magnitude = layer.lora_magnitude_vector[ADAPTER].weight
    magnitude.data.copy_(norms.view(magnitude.shape))


def _read_adapter(layer: LoraLayer) -> Adapter:
    down, up = layer.lora_A[ADAPTER].weight.detach(), layer.lora_B[ADAPTER].weight.detach()
    magnitude = None
    if ADAPTER in layer.lora_magnitude_vector:
        rows = layer.lora_magnitude_vector[ADAPTER].weight.detach()
        magnitude = rows.reshape(up.shape[0], *[1] * (down.ndim - 1))
    return Adapter(down, up, float(layer.lora_alpha[ADAPTER]), magnitude)
