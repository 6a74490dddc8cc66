"""`snrlab convert`: a model from a single file to a diffusers folder, or back; a LoRA from one layout to the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.choices import PRECISIONS, one_of
from snrlab.cli.early_checks import find_model, refuse_missing
from snrlab.cli.messages import print_unless_quiet, report_written
from snrlab.cli.output_files import free_path
from snrlab.cli.training.train import quiet_libraries
from snrlab.core.errors import UserError

_PREDICTIONS = ("epsilon", "v_prediction")  # of the families' models


def convert_command(
    source: Annotated[Path, typer.Argument(help="Model: a .safetensors file, a diffusers folder, small or small_v.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="What to write: a name ending in .safetensors is a single file, any other a folder. An existing "
            "one is kept and the new one numbered.",
            show_default="the other layout, in this folder; of a LoRA NAME-peft or NAME-kohya",
        ),
    ] = None,
    precision: Annotated[
        str | None, one_of(PRECISIONS, help="Number format of the weights.", show_default="as they are")
    ] = None,
    vae: Annotated[Path | None, typer.Option(help="VAE to put in: a file or a folder.")] = None,
    prediction: Annotated[
        str | None, one_of(_PREDICTIONS, help="Prediction type, if the model does not state it.")
    ] = None,
    zero_terminal_snr: Annotated[
        bool, typer.Option("--zero-terminal-snr", help="The schedule ends at SNR 0, if the model does not state it.")
    ] = False,
) -> None:
    """Turn a single-file model into a diffusers folder, or a folder into a single file.

    Without --precision every tensor stays bit-identical. A single file gets the keys v_pred and ztsnr where they
    apply, so that web UIs know. A LoRA in kohya's layout becomes one in peft's, and the other way round.

    Example: snrlab convert model.safetensors -o model
    """  # fmt: skip
    source = find_model(source, "SOURCE")
    if vae is not None:
        refuse_missing(vae, "--vae")
    quiet_libraries()
    from snrlab.models.lora.lora_file import convert_lora, is_lora, other_lora_format
    from snrlab.models.storage.convert import convert_model
    from snrlab.models.storage.source import DTYPES

    if source.is_file() and is_lora(source):
        if vae or prediction or zero_terminal_snr or precision:
            raise UserError(f"{source.name} is a LoRA, which takes no option but --out.", code="unused-option")
        form = other_lora_format(source)
        target = free_path(out or Path(f"{source.stem}-{form}.safetensors"), or_folder=True)
        convert_lora(source, target, form)
        print_unless_quiet(f"The new file names its layers as {form} does; the weights are the same.")
        report_written(target)
        return
    target = free_path(out or Path(f"{source.name}.safetensors" if source.is_dir() else source.stem), or_folder=True)
    dtype = DTYPES[precision] if precision else None
    converted = convert_model(
        source,
        target,
        dtype,
        vae=vae,
        prediction_type=prediction,
        zero_terminal_snr=zero_terminal_snr or None,
    )
    print_unless_quiet(f"{converted.label} predicts {converted.prediction_type}: {converted.prediction_source}")
    report_written(target)
