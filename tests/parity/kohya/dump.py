"""Makes the fixtures of this folder: run inside a checkout of kohya-ss/sd-scripts with its own requirements.

    PYTHONPATH=SD_SCRIPTS python dump.py OUT        # no weights needed; torchvision may be an empty stand-in

For the tokens of captions it needs snrlab too, whose copy of CLIP's vocabulary is at hand without a hub.

Each option is run in a process of its own: the program adds its convolution classes to a list of the class, so that
the first LoCon changes every LoRA made after it in the same process.
"""

import gzip
import json
import subprocess
import sys
from pathlib import Path

HEADER = {"program": "kohya-ss/sd-scripts", "commit": "48d368fa557731ad0488c07304dfeba8c07910eb"}
SIZES = [
    (512, 512), (768, 512), (512, 768), (1024, 768), (640, 1136), (1920, 1080), (1080, 1920), (300, 300), (200, 900),
    (3000, 500), (500, 3000), (4000, 3000), (3000, 4000), (1000, 1000), (723, 911), (64, 64), (513, 512), (512, 513),
    (1365, 767), (850, 1250), (2048, 2048), (1500, 1000), (1000, 1500), (600, 601), (96, 2048), (2048, 96), (777, 333),
    (333, 777), (1280, 720), (720, 1280), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344),
    (1536, 640), (640, 1536), (1333, 999), (257, 255),
]  # fmt: skip

CAPTIONS = [
    "", "a photo of a cat", "masterpiece, best quality, 1girl, solo, blue eyes, (smile:1.2), [frown], :d",
    "a ((red)) hat (on a table:0.7), \\(literal\\), (open", "unbalanced) and [more", "(a:1.5) (b:-0.5) (c:0)",
    "word " * 74, "word " * 75, "word " * 76, "a (word:1.1) " * 60, "tree, " * 76, "word " * 150, "word " * 151,
    "supercalifragilistic " * 40, "word " * 240, "(nested (deeper [and back] again) here:1.4) " * 20,
]  # fmt: skip
HOW_CAPTIONS = "library.strategy_base.TokenizeStrategy()._get_input_ids(tokenizer, caption, max_tokens + 2, weighted)"


def buckets():
    from library.train_util import BucketManager

    cases = []
    for no_upscale in (False, True):
        for resolution in ((512, 512), (768, 768), (1024, 1024), (512, 768)):
            for smallest, largest in ((256, 1024), (512, 2048)):
                for step in (64, 32, 8):
                    manager = BucketManager(no_upscale, resolution, smallest, largest, step)
                    if not no_upscale:
                        manager.make_buckets()
                    chosen = [[list(map(int, part)) for part in manager.select_bucket(*size)[:2]] for size in SIZES]
                    listed = None if no_upscale else [list(map(int, size)) for size in manager.predefined_resos]
                    cases.append({
                        "no_upscale": no_upscale, "max_reso": resolution, "min_size": smallest, "max_size": largest,
                        "reso_steps": step, "buckets": listed, "chosen": chosen,
                    })  # fmt: skip
    how = "library.train_util.BucketManager(no_upscale, max_reso, min_size, max_size, reso_steps).select_bucket"
    return {"how": how, "sizes": SIZES, "cases": cases}


def modules(convolution):
    import torch
    from library import model_util, original_unet, sdxl_original_unet
    from networks import lora
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    def text(kind, width, layers, heads):
        config = CLIPTextConfig(vocab_size=49408, hidden_size=width, intermediate_size=4 * width,
                                num_hidden_layers=layers, num_attention_heads=heads, projection_dim=width)  # fmt: skip
        return kind(config)

    shapes_by_model = {}
    options = {"conv_dim": "4", "conv_alpha": "1"} if convolution else {}
    with torch.device("meta"):
        first = text(CLIPTextModel, 768, 12, 12)
        models = {
            "sd15": (original_unet.UNet2DConditionModel(**model_util.create_unet_diffusers_config(False)), first),
            "sd2": (original_unet.UNet2DConditionModel(**model_util.create_unet_diffusers_config(True)),
                    text(CLIPTextModel, 1024, 23, 16)),
            "sdxl": (sdxl_original_unet.SdxlUNet2DConditionModel(),
                     [first, text(CLIPTextModelWithProjection, 1280, 32, 20)]),
        }  # fmt: skip
        for name, (unet, encoders) in models.items():
            network = lora.create_network(1.0, 8, 4, None, encoders, unet, **options)
            network.apply_to(encoders, unet, True, True)
            shapes = {}
            for key, tensor in network.state_dict().items():
                module, _, matrix = key.partition(".")
                if matrix.endswith("weight"):
                    shapes.setdefault(module, [None, None])[matrix.startswith("lora_up")] = list(tensor.shape)
            shapes_by_model[f"{name}/{'conv' if convolution else 'linear'}"] = shapes
    return shapes_by_model


def captions():
    """Token numbers (and weights) of captions, as its trainers of SD 1.5 (pad: end), SD 2 and SDXL ask."""
    from library.strategy_base import TokenizeStrategy
    from transformers.utils import logging

    from snrlab.models.clip import END, clip_tokenizer

    logging.set_verbosity_error()
    cases = []
    for pad in (END, "!"):
        tokenizer = clip_tokenizer(pad)
        for tokens in (75, 150, 225):
            for weighted in (False, True):
                for index, caption in enumerate(CAPTIONS):
                    encoded = TokenizeStrategy()._get_input_ids(tokenizer, caption, tokens + 2, weighted=weighted)
                    ids, weights = encoded if weighted else (encoded, None)
                    case = {"pad": pad, "max_tokens": tokens, "weighted": weighted, "caption": index}
                    case["ids"] = ids.reshape(-1, 77).tolist()
                    case["weights"] = weights.reshape(-1, 77).tolist() if weighted else None
                    cases.append(case)
    return {"how": HOW_CAPTIONS, "captions": CAPTIONS, "cases": cases}


def main(out):
    if sys.argv[2:]:
        sys.stdout.write("\n" + json.dumps(modules(sys.argv[2] == "conv")) + "\n")
        return
    cases = {}
    for option in ("linear", "conv"):
        done = subprocess.run([sys.executable, __file__, str(out), option], capture_output=True, text=True, check=True)
        cases |= json.loads(done.stdout.splitlines()[-1])
    how = "networks.lora.create_network(1.0, 8, 4, None, text_encoders, unet[, conv_dim='4', conv_alpha='1'])"
    made = {"buckets": buckets(), "lora_modules": {"how": how, "cases": cases}, "captions": captions()}
    for name, content in made.items():
        raw = json.dumps(HEADER | content, separators=(",", ":"), sort_keys=True).encode()
        (out / f"{name}.json.gz").write_bytes(gzip.compress(raw, 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
