"""What explain and import say of each configuration, as the texts that were read and found good.

    PYTHONPATH=tests python -m goldens        # writes them anew; read the difference before it is committed

Those of the list in configurations/elsewhere.toml are written and tested where `python -m elsewhere` has got them.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from pathlib import Path

import elsewhere
from snrlab.core.registries.registry import load_plugins
from snrlab.data.kohya.dataset_toml import refusal
from snrlab.lab import explain_text
from snrlab.lab.explain import explain
from snrlab.peers.importing import Imported, import_source

HERE = Path(__file__).parent / "lab"
FILES = HERE / "configurations"
GOLDEN = HERE / "golden"
NOT_ALONE = {"kohya_ss-dataset-multires.toml", "elsewhere.toml"}  # used by another, and the list of those elsewhere
SHIPPED = sorted(f.name for f in FILES.iterdir() if f.suffix in (".toml", ".json") and f.name not in NOT_ALONE)
NAMES = [*SHIPPED, *elsewhere.published()]


def finished(metadata: dict[str, str], file: Path) -> Path:
    """A LoRA file of one tensor with this metadata."""
    tensor = {"dtype": "F16", "shape": [1, 1], "data_offsets": [0, 2]}
    text = json.dumps({"__metadata__": metadata, "lora_unet_x.lora_down.weight": tensor}).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"\0\0")
    return file


def source(name: str, folder: Path) -> Path:
    """The configuration; of a finished file its metadata, put into one."""
    if name not in SHIPPED:
        return elsewhere.FOLDER / name
    if not name.endswith(".metadata.json"):
        return FILES / name
    metadata = json.loads((FILES / name).read_text(encoding="utf-8"))
    return finished(metadata, folder / name.replace(".metadata.json", ".safetensors"))


def imported(name: str, folder: Path, *, as_is: bool = False) -> Imported:
    """The configuration as a run file; what it says of the folder of this file is cut."""
    return import_source(source(name, folder), as_is=as_is, refuses=refusal)


def text(name: str, folder: Path) -> str:
    """The golden text of a configuration."""
    result = imported(name, folder)
    explanation = explain_text.explanation_to_text(explain(source(name, folder)))
    missing = "\n".join(result.missing)
    whole = f"{explanation}\n\n{'=' * 100}\n\n{result.written.text}\n{'=' * 100}\n\n{missing}\n"
    for place in (FILES, elsewhere.FOLDER):
        whole = whole.replace(f"{place}/", "").replace(f"{place}\\", "")
    return whole


def main() -> None:
    """Write all of them."""
    load_plugins()
    GOLDEN.mkdir(exist_ok=True)
    wanted = sys.argv[1:] or [name for name in NAMES if name in SHIPPED or (elsewhere.FOLDER / name).exists()]
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            (GOLDEN / f"{name}.txt").write_text(text(name, Path(folder)), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
