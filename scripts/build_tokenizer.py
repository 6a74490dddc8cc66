"""Rebuild the small model's CLIP tokenizer: byte-pair merges learnt from the shipped captions.

python scripts/build_tokenizer.py                 # needs snrlab[train]; a few seconds
python scripts/build_tokenizer.py --target DIR    # write there instead of into the package
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from snrlab.data.emoji import concepts

TARGET = Path(__file__).parent.parent / "src" / "snrlab" / "models" / "small" / "tokenizer"
MERGES = 3212
MAX_LENGTH = 32
END = "</w>"
WORDS = r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # as CLIP splits text


def learn_merges(captions: list[str]) -> list[tuple[str, str]]:
    """The most frequent byte-pair merges of the captions' words."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=END))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(alphabet) + MERGES,
        initial_alphabet=alphabet,
        special_tokens=[
            c + END for c in alphabet
        ],  # known beforehand, or merges that are as frequent come as they like
        end_of_word_suffix=END,
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(merge) for merge in merges]


def build(target: Path) -> None:
    """Write the tokenizer's files."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = learn_merges([concept.caption for concept in concepts("noto")])
    tokens = [*alphabet, *(c + END for c in alphabet)]
    tokens += [t for t in dict.fromkeys(a + b for a, b in merges) if t not in set(tokens)]
    vocabulary = {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    target.mkdir(parents=True, exist_ok=True)
    (target / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (target / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_LENGTH,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    (target / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    made = CLIPTokenizer.from_pretrained(target, local_files_only=True)
    print(len(made), made.tokenize("red apple, a Fläche 42!"), made("red apple").input_ids)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, default=TARGET, help="folder to write to (default: the package's)")
    build(parser.parse_args().target)
