"""Rebuild CLIP's merges from the PyPI wheel that carries them; the vocabulary follows from the merges.

python scripts/build_clip_vocabulary.py        # needs pip and a package index
"""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "open_clip_torch==3.3.0"
SHA256 = "c549ad5ed6bfc119cc11105033c0a2b9d7a2a4afeb40a58a09aab3da1a0043ce"
FILE = "open_clip/bpe_simple_vocab_16e6.txt.gz"
MERGES = 49152 - 256 - 2  # CLIP uses the first of them: its vocabulary has 49,152 entries before bytes and specials
TARGET = Path(__file__).parent.parent / "src" / "snrlab" / "models" / "clip" / "merges.txt.gz"


def main() -> None:
    """Download, check, cut and pack."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        subprocess.run(pip, check=True)
        wheel = next(Path(folder).glob("*.whl"))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != SHA256:
            raise SystemExit(f"{wheel.name}: sha256 is {digest}, expected {SHA256}")
        with zipfile.ZipFile(wheel) as archive:
            lines = gzip.decompress(archive.read(FILE)).decode("utf-8").split("\n")
    merges = lines[1 : MERGES + 1]  # the first line is a title
    TARGET.write_bytes(gzip.compress("\n".join(merges).encode("utf-8"), compresslevel=9, mtime=0))
    print(f"{TARGET.name}: {len(merges)} merges, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
