"""Public configurations that are tested as they were published and are not part of this tree, for their licences.

    PYTHONPATH=tests python -m elsewhere                   # gets them into build/configurations
    PYTHONPATH=tests python -m elsewhere --clones FOLDER   # the same from git clones in FOLDER/OWNER/NAME

The list is lab/configurations/elsewhere.toml; a checksum says that a file is unedited.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tomllib
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).parent
FOLDER = HERE.parent / "build" / "configurations"


@dataclass(frozen=True)
class Published:
    """Where a file is from; `lines` are the first and the last of a part that stands in a longer text."""

    repository: str
    commit: str
    path: str
    licence: str
    sha256: str
    lines: tuple[int, int] | None = None

    def cut(self, whole: bytes) -> bytes:
        """The configuration; refused where it is not the one that was read."""
        if self.lines is not None:
            whole = b"".join(whole.splitlines(keepends=True)[self.lines[0] - 1 : self.lines[1]])
        digest = hashlib.sha256(whole).hexdigest()
        if digest != self.sha256:
            raise SystemExit(f"{self.repository} {self.path}: its checksum is {digest}, not that of the list")
        return whole

    def fetch(self, clones: Path | None) -> bytes:
        """Its bytes, from the repository's page or from a clone."""
        if clones is not None:
            command = ["git", "-C", str(clones / self.repository), "show", f"{self.commit}:{self.path}"]
            return self.cut(subprocess.run(command, check=True, capture_output=True).stdout)
        address = f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{quote(self.path)}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            return self.cut(answer.read())


def published() -> dict[str, Published]:
    """The list, by the name of the file that is made."""
    table = tomllib.loads((HERE / "lab" / "configurations" / "elsewhere.toml").read_text(encoding="utf-8"))
    return {name: Published(**facts) for name, facts in table.items()}


def main() -> None:
    """Get all that is not there yet."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clones", type=Path)
    clones = options.parse_args().clones
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, source in published().items():
        if not (FOLDER / name).exists():
            (FOLDER / name).write_bytes(source.fetch(clones))
            sys.stdout.write(f"{FOLDER / name}\n")


if __name__ == "__main__":
    main()
