"""Against what kohya's own program gives: its LoRA modules, buckets and tokens, dumped by kohya/dump.py."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from snrlab.config.sections.lora import LoraConfig
from snrlab.data.images.buckets import bucket_sizes, fit
from snrlab.data.items import BucketRule
from snrlab.model_files import families
from snrlab.models.clip import clip_tokenizer
from snrlab.models.encode_rule import EncodeRule
from snrlab.models.encoding.tokens import tokenize
from snrlab.models.layouts.kohya_names import kohya_name
from snrlab.models.lora.adapters import adapter_layer_path, adapter_sizes
from snrlab.models.networks import empty_network

FAMILIES = {"sd15": "sd1", "sd2": "sd2", "sdxl": "sdxl"}
LINEAR = ["attention", "feed_forward"]


def dumped(name):
    content = json.loads(gzip.decompress((Path(__file__).parent / "kohya" / f"{name}.json.gz").read_bytes()))
    assert content["commit"] == "48d368fa557731ad0488c07304dfeba8c07910eb"
    return content


MODULES = dumped("lora_modules")["cases"]
BUCKETS = dumped("buckets")
TOKENS = dumped("captions")


@pytest.mark.parametrize("case", MODULES)
def test_a_lora_has_the_modules_and_ranks_of_kohyas(case):
    name, kind = case.split("/")
    family = FAMILIES[name]
    config = LoraConfig(layers=[*LINEAR, "convolution"], rank=8, conv_rank=4) if kind == "conv" else LoraConfig(rank=8)
    unet_config = families.config(family, "unet")
    ours = {
        kohya_name(adapter_layer_path(part, module), family, unet_config): size.rank
        for part in ("unet", *(p for p in families.PARTS[family] if p.startswith("text")))
        for module, size in adapter_sizes(empty_network(part, families.config(family, part)), part, config).items()
    }
    assert ours == {module: shapes[0][0] for module, shapes in MODULES[case].items()}


@pytest.mark.parametrize("case", BUCKETS["cases"])
def test_an_image_goes_to_kohyas_bucket(case):
    upscale, resolution = not case["no_upscale"], tuple(case["max_reso"])
    rule = BucketRule(case["min_size"], case["max_size"], case["reso_steps"], upscale)
    if upscale:
        assert sorted(bucket_sizes(resolution, rule)) == sorted(map(tuple, case["buckets"]))
    for size, (bucket, _) in zip(BUCKETS["sizes"], case["chosen"], strict=True):
        assert fit(tuple(size), resolution, rule).target == tuple(bucket), size


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("max_tokens", [75, 150, 225])
@pytest.mark.parametrize("pad", ["<|endoftext|>", "!"])
def test_a_caption_has_kohyas_tokens_and_weights(pad, max_tokens, weighted):
    """In the one order that kohya's chunks and our joined captions share: beginning, bodies, end."""
    rule, tokenizer = EncodeRule(max_tokens=max_tokens, weighted=weighted), clip_tokenizer(pad)
    cases = [c for c in TOKENS["cases"] if (c["pad"], c["max_tokens"], c["weighted"]) == (pad, max_tokens, weighted)]
    assert len(cases) == len(TOKENS["captions"]) == 16
    for case in cases:
        tokenized = tokenize(tokenizer, [TOKENS["captions"][case["caption"]]], rule)
        assert tokenized.ids.tolist() == case["ids"], case["caption"]
        if weighted:
            chunks = torch.tensor(case["weights"])
            joined = torch.cat([chunks[0, :1], chunks[:, 1:-1].flatten(), chunks[-1, -1:]])
            assert torch.allclose(tokenized.weights[0], joined)
