"""Plant each bug of this folder into a copy of the source and see whether the contract suite catches it.

    python tests/mutants/run.py [NAME ...]      # exit code 1 if a mutant survives

A mutant is a patch to `src/`, whose first lines say which program shipped the bug, if one did. Only tests that name
no registry entry are run (`tests/contract`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SUITE = ["test_registries.py", "test_theory.py", "test_step.py", "test_runs.py"]  # quick ones first
OPTIONS = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(ROOT)]
OPTIONS += ["-o", "addopts=--import-mode=importlib"]


def apply(patch: Path, target: Path) -> None:
    """Copy the source to `target`/src and apply the patch there."""
    shutil.copytree(ROOT / "src", target / "src", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["patch", "--quiet", "-p1", "--fuzz=0", "-i", str(patch)], cwd=target, check=True)


def killer(patch: Path) -> str | None:
    """The first contract test that fails with the mutant in place, or None where it survives."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        apply(patch, target)
        environment = os.environ | {"PYTHONPATH": str(target / "src"), "OMP_NUM_THREADS": "1"}
        for name in SUITE:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *OPTIONS, str(ROOT / "tests" / "contract" / name)],
                cwd=target,
                env=environment,
                capture_output=True,
                text=True,
            )
            if done.returncode == 1:
                failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
                return failed[0].split(" - ")[0].rpartition("contract/")[2]
            if done.returncode != 0:
                return f"error in {name} (exit {done.returncode})"
    return None


def main(names: list[str]) -> int:
    """Run the mutants and print who killed each."""
    patches = [p for p in sorted(HERE.glob("*.patch")) if not names or p.stem in names]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = dict(zip(patches, pool.map(killer, patches), strict=True))
    for patch, test in found.items():
        print(f"{'killed' if test else 'SURVIVED':9} {patch.stem:44} {test or ''}")
    survived = sum(test is None for test in found.values())
    print(f"{len(found) - survived} passed, {survived} failed")
    return 1 if survived or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
