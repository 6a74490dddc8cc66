"""Two processes that train together, as one of them: `python two_processes.py PLAN.json OUT`, by `accelerate launch`.

What each scenario of the plan made is written to OUT/RANK.json.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from pathlib import Path

import numpy as np
import torch

import forked
import tiny
from snrlab import UserError
from snrlab.config import parse_run
from snrlab.core.registries.registry import load_plugins
from snrlab.distributed import SINGLE, Processes, current_processes
from snrlab.train.job import Job, prepare
from snrlab.train.loop import DivergedError, steps
from snrlab.train.runner import run


def trained(config: dict, processes: Processes = SINGLE, broken_rank: int | None = None) -> dict:
    """What a run's steps were, and what its weights and their average are after them, as plain data."""
    job = prepare(parse_run(config), processes=processes)
    if broken_rank == processes.rank:
        break_losses(job)
    facts: dict = {"slots": job.processes.slots(0, 1, job.config.train.batch_size).tolist(), "steps": []}
    try:
        for step in steps(job):
            facts["steps"].append(
                {
                    "t": step.timesteps.tolist(),
                    "mse": step.mse.tolist(),
                    "loss": step.loss,
                    "grad_norm": step.grad_norm,
                    "drawn": [] if step.drawn is None else step.drawn.tolist(),
                }
            )
    except DivergedError as reason:
        facts["diverged"] = str(reason)
    facts["weights"] = np.concatenate([p.detach().float().numpy().ravel() for p in job.parameters.values()]).tolist()
    facts["hash"] = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in averages(job))).hexdigest()
    return facts


def averages(job: Job) -> list:
    return job.ema.shadow_params if job.ema is not None else list(job.parameters.values())


def break_losses(job: Job) -> None:
    """Make the loss of this process's slots no number from the second step on."""
    whole = job.objective.losses

    def losses(model, batch, step, slots):
        losses_of_step = whole(model, batch, step, slots)
        return losses_of_step._replace(loss=losses_of_step.loss * float("nan")) if step else losses_of_step

    object.__setattr__(job.objective, "losses", losses)


def drifted(processes: Processes) -> str:
    """How each ends whose weights are no longer those of the other."""
    try:
        processes.refuse_drift([torch.full((3,), float(processes.rank))])
    except UserError as mistake:
        return str(mistake)
    except SystemExit as end:
        return f"exit code {end.code}"
    return "goes on"


def launch(plan: dict, out: Path) -> list[dict]:
    """What each of two processes made of a plan's scenarios: by rank, by name."""
    out.mkdir()
    (out / "plan.json").write_text(json.dumps(plan))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"num_processes": 2, "num_machines": 1, "mixed_precision": "no", "dynamo_backend": "no"}
    stated = [
        word for name, value in {**options, "main_process_port": port}.items() for word in (f"--{name}", str(value))
    ]
    launcher = forked.server().Process(
        target=_launch, args=(["--multi_gpu", *stated, __file__, str(out / "plan.json"), str(out)],)
    )
    launcher.start()
    launcher.join(300)
    assert launcher.exitcode == 0
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


def _launch(words: list[str]) -> None:
    """`accelerate launch`, forked, for torch takes seconds to import; the two it starts are processes like any."""
    from accelerate.commands import launch as command

    command.launch_command(command.launch_command_parser().parse_args(words))


def main(plan: Path, out: Path) -> None:
    load_plugins()
    processes = current_processes()
    facts = {}
    for name, scenario in json.loads(plan.read_text()).items():
        if "out" in scenario:
            with tiny.messages() as messages:
                outcome = run(parse_run(scenario["config"]), Path(scenario["out"]), resume=True)
            facts[name] = {"said": messages, "finished": outcome.finished}
        else:
            facts[name] = trained(scenario["config"], processes, scenario.get("broken_rank"))
    facts["drift"] = drifted(processes)
    (out / f"{processes.rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
