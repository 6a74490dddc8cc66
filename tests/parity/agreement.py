"""Whether a fixture of a peer agrees with a recipe of ours: one rule for each kind of output."""

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from snrlab import SCHEDULES
from snrlab.core.registries.registry import load_plugins
from snrlab.core.registries.tensor_registries import LOSSES
from snrlab.lab.recipe_text import parse_recipe
from snrlab.peers.onetrainer import density as onetrainer_density

load_plugins()  # noise shapes and losses
EXACT, MEASURED = 2e-4, 0.02  # float32 tables; root mean squares over random numbers


def agreement(fixture, spec):
    """Whether the recipe `spec` computes the fixture's outputs from its inputs."""
    return RULES[fixture["kind"]](fixture, spec, fixture["outputs"])


def weight(fixture, spec, outputs):
    tables = parse_recipe(spec)[1].tables()
    return close(tables.weight[outputs["t"]], outputs["weight"])


def snr(fixture, spec, outputs):
    return close(parse_recipe(spec)[1].tables().snr[outputs["t"]], outputs["snr"])


def perturbation(fixture, spec, outputs):
    """Ours is noise that is in the input and not in the target, whose own noise has variance 1."""
    gamma = parse_recipe(spec)[1].tables().ip_gamma[outputs["t"]]
    return close(gamma, outputs["only_in_the_input"], MEASURED) and close(
        np.sqrt(1 + gamma**2), outputs["input_noise"], MEASURED
    )


def noise(fixture, spec, outputs):
    shape, generator = parse_recipe(spec)[1].noise, torch.Generator().manual_seed(1)
    made = torch.stack(
        [
            shape(torch.randn(4, 32, 32, generator=generator), torch.zeros(4, 32, 32), np.random.default_rng(seed))
            for seed in range(1500)
        ]
    )
    return close([float(avg_pool2d(made, b).var()) for b in outputs["block"]], outputs["variance"], 0.1)


def density(fixture, spec, outputs):
    if spec == "onetrainer":
        p = onetrainer_density.density(fixture["inputs"])(SCHEDULES.bind("sd")())
    else:
        p = parse_recipe(spec)[1].tables().p
    shares = [part.sum() for part in np.array_split(p, len(outputs["share"]))]
    return bool(np.abs(np.array(shares) - outputs["share"]).max() < 0.003)


def loss(fixture, spec, outputs):
    bound = LOSSES.parse(spec)(SCHEDULES.bind("sd")())
    error = torch.tensor(outputs["error"], dtype=torch.float64)
    same = close(bound.threshold[outputs["t"]], outputs["threshold"])
    for t, row in zip(outputs["loss_at_t"], outputs["loss"], strict=True):
        c = torch.tensor(bound.threshold[t])
        same = same and close(bound.of_error(error, c).numpy(), row, 1e-3)
    return same


def close(ours, theirs, tolerance=EXACT):
    return bool(np.allclose(ours, theirs, rtol=tolerance, atol=1e-8))


RULES = {
    "weight": weight, "snr": snr, "perturbation": perturbation, "noise": noise, "density": density, "loss": loss,
}  # fmt: skip
