"""`snrlab merge`: LoRAs merged into a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.choices import PRECISIONS, one_of
from snrlab.cli.early_checks import find_model, refuse_missing
from snrlab.cli.messages import report_written
from snrlab.cli.output_files import free_path
from snrlab.cli.strengths import check_finite_strength
from snrlab.cli.training.train import quiet_libraries


def merge_command(
    base: Annotated[Path, typer.Argument(help="Base model: a .safetensors file, diffusers folder, small or small_v.")],
    loras: Annotated[
        list[str],
        typer.Argument(help="LoRA files of any layout, including LoCon and DoRA.", metavar="LORA[:STRENGTH]..."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="What to write: a name ending in .safetensors is a single file, any other a folder. An existing "
            "one is kept and the new one numbered.",
        ),
    ],
    precision: Annotated[
        str | None, one_of(PRECISIONS, help="Number format of the weights.", show_default="as they are")
    ] = None,
) -> None:
    """Merge LoRAs into a model, in fp32: the result draws what the model draws with them applied.

    Example: snrlab merge base.safetensors style.safetensors:0.8 -o merged.safetensors
    """
    target, chosen = free_path(out, or_folder=True), [_with_strength(text) for text in loras]
    check_finite_strength("LORA", [strength for _, strength in chosen])
    base = find_model(base, "BASE")
    for path, _ in chosen:
        refuse_missing(path, "LORA")
    quiet_libraries()
    from dataclasses import replace

    from snrlab.models.lora.lora_file import load_lora
    from snrlab.models.lora.merge import merge_lora
    from snrlab.models.storage.convert import save_model
    from snrlab.models.storage.source import DTYPES, load_model

    model = load_model(base, None, None, field="BASE")
    for path, strength in chosen:
        merge_lora(model, load_lora(path, model.unet.config), strength, name=path.name)
    merged_from = ", ".join([model.label, *(f"{path.stem}:{strength:g}" for path, strength in chosen)])
    dtype = DTYPES[precision] if precision else None
    save_model(replace(model, label=target.stem), target, dtype, {"modelspec.merged_from": merged_from})
    report_written(target)


def _with_strength(text: str) -> tuple[Path, float]:
    """Path and strength of `file.safetensors:0.8`; the path may contain a colon too, as after the drive C:."""
    path, colon, strength = text.rpartition(":")
    try:
        return (Path(path), float(strength)) if colon else (Path(text), 1.0)
    except ValueError:
        return Path(text), 1.0
