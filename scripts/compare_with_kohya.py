"""Compare the LoRA names of this package with those of kohya's own program, for the full-size architectures.

    python scripts/compare_with_kohya.py SD_SCRIPTS        # a checkout of kohya-ss/sd-scripts; a minute, no weights

Its network module puts adapters on its own UNets, here without memory for weights. For each family and choice of
layers, the names and ranks in the file that it would write are compared with ours.
"""

from __future__ import annotations

import logging
import sys
import types
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from snrlab.config.lora import LoraConfig
from snrlab.models import families
from snrlab.models.families import Family
from snrlab.models.kohya_names import kohya_name
from snrlab.models.lora import layer_path, sizes
from snrlab.models.networks import empty

CONV = ["attention", "feed_forward", "convolution"]
CHOICES: dict[str, tuple[LoraConfig, dict[str, int]]] = {
    "linear": (LoraConfig(rank=8), {}),
    "linear and convolution": (LoraConfig(rank=8, layers=CONV, conv_rank=4), {"conv_dim": 4, "conv_alpha": 1}),
}


def theirs(family: Family, arguments: dict[str, int]) -> dict[str, int]:
    """Rank by name, as kohya's network makes them."""
    from networks import lora

    lora.LoRANetwork.UNET_TARGET_REPLACE_MODULE = ["Transformer2DModel"]  # the module extends its own list in place
    encoders = [part for part in families.PARTS[family] if part.startswith("text")]
    with init_empty_weights():
        # of the two classes the one that has kept the level text_model, which the program's own version has in both
        texts = [CLIPTextModelWithProjection(CLIPTextConfig(**families.config(family, part))) for part in encoders]
        network = lora.create_network(
            1.0, 8, 8, None, texts if len(texts) > 1 else texts[0], _unet(family), **arguments
        )
    return {module.lora_name: module.lora_dim for module in network.text_encoder_loras + network.unet_loras}


def _unet(family: Family) -> torch.nn.Module:
    if family == "sdxl":
        from library.sdxl_original_unet import SdxlUNet2DConditionModel

        return SdxlUNet2DConditionModel()
    from library.original_unet import UNet2DConditionModel

    return UNet2DConditionModel(**families.config(family, "unet"))


def ours(family: Family, config: LoraConfig) -> dict[str, int]:
    """Rank by name, as this package makes them."""
    unet_config = families.config(family, "unet")
    found = {}
    for part in families.PARTS[family]:
        if part != "vae":
            network = empty(part, families.config(family, part))
            for name, size in sizes(network, part, config).items():
                found[kohya_name(layer_path(part, name), family, unet_config)] = size.rank
    return found


def main(checkout: Path) -> int:
    """Print the comparison; 1 where something differs."""
    sys.path.insert(0, str(checkout))
    utils: Any = types.ModuleType("library.utils")  # pulls in torchvision and cv2 for a logger
    utils.setup_logging = lambda: logging.disable(logging.WARNING)
    sys.modules["library.utils"] = utils
    sys.modules.setdefault("einops", types.SimpleNamespace(rearrange=None))  # type: ignore[arg-type]  # for forward only
    different = False
    for family in families.PARTS:
        for choice, (config, arguments) in CHOICES.items():
            here, there = ours(family, config), theirs(family, arguments)
            unet = sum(name.startswith("lora_unet_") for name in here)
            print(f"{family}, {choice}: {unet} + {len(here) - unet} layers here, {len(there)} there,", end=" ")
            print(
                "equal names and ranks" if here == there else f"different: {sorted(here.items() ^ there.items())[:5]}"
            )
            different |= here != there
    return int(different)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
