"""Plant each bug of mutants.toml into a copy of the source and see whether the contract suite catches it.

    python tests/mutants/run.py [NAME ...]      # exit code 1 if a mutant survives
    python tests/mutants/run.py --core          # those in the maths only: minutes, so CI runs these every time

Bugs in strategies are hunted by tests that name no registry entry (`tests/contract`); a mutant that breaks something
else says in `tests` which files of tests/ are there to catch it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CORE = "src/snrlab/core/"
# quick ones first
CONTRACT = [
    "test_registries.py",
    "test_theory.py",
    "test_step.py",
    "test_losses.py",
    "test_runs.py",
    "test_optimizers.py",
]
SUITE = [f"contract/{name}" for name in CONTRACT]
OPTIONS = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(ROOT)]
OPTIONS += ["-o", "addopts=--import-mode=importlib"]


def mutants() -> list[dict[str, Any]]:
    """The list: name, why, file, find, replace, and tests where it is not the contract's to catch."""
    return tomllib.loads((HERE / "mutants.toml").read_text())["mutant"]


def plant(mutant: dict[str, Any], target: Path) -> None:
    """Copy the source to `target` with the bug in it."""
    for folder in ("src", "scripts"):
        shutil.copytree(ROOT / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    file = target / mutant["file"]
    source = file.read_text()
    if source.count(mutant["find"]) != 1:
        raise SystemExit(f"{mutant['name']}: what it replaces stands {source.count(mutant['find'])} times in its file")
    file.write_text(source.replace(mutant["find"], mutant["replace"]))


def killer(mutant: dict[str, Any]) -> str | None:
    """The first test that fails with the mutant in place, or None where it survives."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        plant(mutant, target)
        own = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(target / "src"), *own]),
            "OMP_NUM_THREADS": "1",
        }
        paths = ["-o", f"pythonpath={target / 'scripts'} {ROOT / 'tests'}"]
        for name in mutant.get("tests", SUITE):
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *OPTIONS, *paths, str(ROOT / "tests" / name)],
                cwd=target,
                env=environment,
                capture_output=True,
                text=True,
            )
            if done.returncode == 1:
                failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
                return failed[0].split(" - ")[0].rpartition("tests/")[2]
            if done.returncode == 2:  # the mutant does not even import
                return f"{name} (not collected)"
            if done.returncode != 0:  # the tests did not run at all, which catches nothing
                raise SystemExit(f"{mutant['name']}: {name} did not run:\n{done.stdout}{done.stderr}")
    return None


def main(names: list[str]) -> int:
    """Run the mutants and print who killed each."""
    core = names == ["--core"]
    chosen = [m for m in mutants() if (m["file"].startswith(CORE) if core else not names or m["name"] in names)]
    survived = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for mutant, test in zip(chosen, pool.map(killer, chosen), strict=True):
            print(f"{'killed' if test else 'SURVIVED':9} {mutant['name']:44} {test or ''}", flush=True)
            survived += test is None
    print(f"{len(chosen) - survived} passed, {survived} failed")
    return 1 if survived or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
