"""Kill runs at random moments, let them go on, and compare every byte with runs that nobody disturbed.

python scripts/soak.py --state DIR --log docs/soak.log      # 100 kills; stopped, the same command goes on
python scripts/soak.py --state DIR --kills 6 --kinds lora   # fewer, and not all kinds of runs

Everything lies in DIR. A round is one run of a kind: some processes that get SIGKILL, each at a moment that the seed
chooses, and a last one that ends the run. After every kill each checkpoint that is there must be whole; at the end
every file of the run folder must have the bytes that an undisturbed run's has.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import tomlkit
from PIL import Image

from snrlab.data import emoji
from snrlab.models.storage.safetensors_file import damage
from snrlab.train.resume.checkpoint import checkpoints

sys.path.insert(0, str(Path(__file__).parent))
from soak_runs import KINDS, NAME, RUN, Kind, Place, moment, unfinished

PICTURES = 24
POLL = 0.0005  # seconds between looks at the run folder
KILLS_IN_A_ROUND = 4


@dataclass
class Tally:
    """What was done and found, over all rounds."""

    kills: Counter[str] = field(default_factory=Counter)
    halves: Counter[str] = field(default_factory=Counter)
    rounds: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    whole_checkpoints: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Kills in all."""
        return sum(self.kills.values())


def started(kind: Kind, run: Path, place: Place) -> subprocess.Popen[bytes]:
    """A process, in a group of its own with those that it starts, that goes on with the run."""
    command = [sys.executable, "-m", "snrlab", "train", str(run), "--out", str(place.out), "--resume"]
    command += ["--processes", str(kind.processes)] if kind.processes > 1 else []
    place.out.mkdir(parents=True, exist_ok=True)
    with (place.out / "output.txt").open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it has started; when it returns none is left."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with suppress(ProcessLookupError):
        while True:
            os.killpg(process.pid, 0)
            time.sleep(POLL)


def killed(kind: Kind, run: Path, place: Place, name: str, rng: random.Random) -> bool:
    """Start the run and kill it at a moment; False where it ended by itself before."""
    if name == "caching":
        shutil.rmtree(place.cache, ignore_errors=True)
    come = moment(name, place, rng)
    process = started(kind, run, place)
    try:
        while process.poll() is None and not come():
            time.sleep(POLL)
        return process.poll() is None
    finally:  # also where this script is stopped
        if process.poll() is None:
            kill(process)


def finish(kind: Kind, run: Path, place: Place) -> str:
    """Let the run go on to its end; what was wrong, or nothing."""
    process = started(kind, run, place)
    try:
        code = process.wait()
    finally:
        if process.poll() is None:
            kill(process)
    return "" if code == 0 else f"exit code {code}: {(place.out / 'output.txt').read_text()[-2000:]}"


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a run folder."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def differences(whole: Path, other: Path) -> list[str]:
    """Files that two run folders do not share, to the bit."""
    one, two = files(whole), files(other)
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


def round_of(number: int, kinds: Sequence[str], seed: int, state: Path, most: int, tally: Tally) -> None:
    """One run with some kills, at most so many, that ends compared with the undisturbed one."""
    name = kinds[number % len(kinds)]
    kind, rng = KINDS[name], random.Random(f"{seed} {number}")
    run = state / f"{name}.toml"
    place = Place(state / "killed" / f"{number:03d}-{name}", state / "cache" / name)
    shutil.rmtree(place.out, ignore_errors=True)
    chosen = sorted(rng.choices(range(len(kind.moments)), k=min(KILLS_IN_A_ROUND, most)))
    for which in chosen:
        at = kind.moments[which]
        if not killed(kind, run, place, at, rng):
            tally.missed += 1
            break
        tally.kills[f"{name} {at}"] += 1
        half = place.cache if at == "caching" else place.run
        tally.halves[f"{name} {at}"] += unfinished(half, "**/*")
        for file in checkpoints(place.run / "checkpoints"):
            tally.whole_checkpoints += 1
            wrong = damage(file)
            if wrong is not None:
                tally.wrong.append(f"round {number}, {name}, after a kill at {at}: {file.name}: {wrong}")
    wrong = finish(kind, run, place)
    faults = [wrong] if wrong else differences(state / "whole" / name / NAME, place.run)
    tally.wrong += [f"round {number}, {name}: {one}" for one in faults]
    tally.rounds[name] += 1
    if not faults:
        shutil.rmtree(place.out)


def prepare(kinds: Sequence[str], state: Path) -> None:
    """Pictures, run files, and an undisturbed run of each kind, where they are not there."""
    pictures = state / "pictures"
    if not pictures.exists():
        half = state / "pictures.tmp"
        half.mkdir(parents=True, exist_ok=True)
        shown = zip(emoji.concepts("ink"), emoji.images("ink"), range(PICTURES), strict=False)
        for concept, pixels, number in shown:
            Image.fromarray(pixels).save(half / f"{number:02d}.png")
            (half / f"{number:02d}.txt").write_text(f"{concept.caption}, ink", encoding="utf-8")
        half.replace(pictures)
    for name in kinds:
        place = Place(state / "whole" / name, state / "cache" / name)
        data = {"folder": str(pictures)}
        if KINDS[name].sections.get("data", {}).get("cache"):
            data["cache_folder"] = str(place.cache)
        text = tomlkit.dumps(merged(RUN, KINDS[name].sections, {"data": data}))
        (state / f"{name}.toml").write_text(text, encoding="utf-8")
        if not (place.out / "done").exists():
            shutil.rmtree(place.out, ignore_errors=True)
            wrong = finish(KINDS[name], state / f"{name}.toml", place)
            if wrong:
                raise SystemExit(f"the undisturbed run of {name} failed: {wrong}")
            (place.out / "done").touch()


def merged(*tables: dict[str, Any]) -> dict[str, Any]:
    """Run files laid over each other, section by section."""
    result: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            result[key] = {**result.get(key, {}), **value} if isinstance(value, dict) else value
    return result


def report(tally: Tally, seed: int, wanted: int) -> str:
    """What the log says."""
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("snrlab", "torch", "diffusers", "safetensors"))
    head = [
        f"python scripts/soak.py: {tally.total} of {wanted} kills with SIGKILL, seed {seed}",
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors; Python {platform.python_version()}, "
        f"{packages}",
        f"{sum(tally.rounds.values())} runs, {tally.seconds / 60:.0f} minutes; {tally.missed} processes ended before "
        "their moment",
        f"checkpoints looked at after kills: {tally.whole_checkpoints}",
        "",
        f"{'kind of run, moment':28} kills  with a half-written file left",
    ]
    rows = [f"{name:28} {count:5}  {tally.halves[name]:5}" for name, count in sorted(tally.kills.items())]
    exact = f"{tally.total} exact resumes: every file of every run has the bytes of the undisturbed one"
    return "\n".join([*head, *rows, "", *(tally.wrong or [exact])]) + "\n"


def main(arguments: list[str]) -> int:
    """Soak; 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="folder, outside of the tree, that is gone on in")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of runs, with commas between")
    parser.add_argument("--log", type=Path, help="where to write what was found")
    chosen = parser.parse_args(arguments)
    kinds, state = chosen.kinds.split(","), chosen.state.absolute()
    known = state / f"tally-{chosen.seed}-{'-'.join(kinds)}.json"
    tally, number = Tally(), 0
    if known.exists():
        saved = json.loads(known.read_text(encoding="utf-8"))
        number = saved.pop("next")
        counters = {name: Counter(saved.pop(name)) for name in ("kills", "halves", "rounds")}
        tally = Tally(**counters, **saved)
    prepare(kinds, state)
    share = max(1, chosen.kills // len(kinds))  # of a round, so that few kills meet every kind
    while tally.total < chosen.kills and not tally.wrong:
        before = time.monotonic()
        trial = Tally(**{k: v.copy() if isinstance(v, Counter | list) else v for k, v in vars(tally).items()})
        round_of(number, kinds, chosen.seed, state, min(share, chosen.kills - tally.total), trial)
        tally, number = trial, number + 1
        tally.seconds += time.monotonic() - before
        known.write_text(json.dumps({**vars(tally), "next": number}), encoding="utf-8")
        print(f"round {number}: {tally.total} of {chosen.kills} kills", flush=True)
    text = report(tally, chosen.seed, chosen.kills)
    print(text)
    if chosen.log is not None:
        chosen.log.write_text(text, encoding="utf-8")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
