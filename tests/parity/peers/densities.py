"""Cases of timestep densities and of losses."""

import argparse
import math

import torch
from case import STEPS, Case, scheduler
from noises import KOHYA_TRAIN, shorter

BINS, DRAWS = 20, 400_000
SHIFTED = "OneTrainer's own distribution, which no paper has under this name."


def onetrainer_density(checkout):
    file = "modules/modelSetup/mixin/ModelSetupNoiseMixin.py"
    names = ("UNIFORM", "SIGMOID", "LOGIT_NORMAL", "HEAVY_TAIL", "COS_MAP", "INVERTED_PARABOLA", "BETA")
    words = argparse.Namespace(**{n: n for n in names})
    owner = checkout.methods(file, "ModelSetupNoiseMixin", "_get_timestep_discrete", torch=torch, math=math,
                             TimestepDistribution=words)  # fmt: skip

    def run(**options):
        made = owner()
        made._ModelSetupNoiseMixin__weights = None
        usual = {"timestep_shift": 1.0, "min_noising_strength": 0.0, "max_noising_strength": 1.0, "noising_weight": 0.0}
        config = argparse.Namespace(**usual | {"noising_bias": 0.0} | options)
        t = made._get_timestep_discrete(1000, False, torch.Generator().manual_seed(0), DRAWS, config)
        return histogram(t)

    paper = "density=logit_normal:mean=1,std=1"
    for kind, options, ours, meant, note in (
        ("LOGIT_NORMAL", {"noising_bias": 1.0}, paper, paper, "As in the SD3 paper; noising_weight is the width less 1."),
        ("UNIFORM", {"timestep_shift": 3.0}, "onetrainer", None,
         "A shift of 3 draws noisy steps more often, on any model; the schedule itself is not shifted."),
        ("HEAVY_TAIL", {"noising_weight": 0.8}, "onetrainer", None, "The SD3 paper's mode sampling."),
        ("COS_MAP", {"timestep_shift": 2.0}, "onetrainer", None, "The SD3 paper's CosMap, listed by step."),
        ("SIGMOID", {"noising_weight": 8.0, "noising_bias": 0.1, "timestep_shift": 2.0}, "onetrainer", None,
         f"{SHIFTED} A shift is applied twice."),
        ("INVERTED_PARABOLA", {"noising_weight": 7.7}, "onetrainer", None, SHIFTED),
        ("BETA", {"noising_weight": 0.5, "noising_bias": 1.0}, "onetrainer", None,
         "u^(1 / weight) for a bias of 1: noise is drawn less often the smaller the weight."),
    ):  # fmt: skip
        inputs = {"timestep_distribution": kind} | options
        yield Case(f"onetrainer-{kind.lower().replace('_', '-')}", "density", file, "_get_timestep_discrete", inputs,
                   lambda inputs=inputs: run(**inputs), ours, meant, note)  # fmt: skip


def histogram(t):
    counts = torch.bincount(t.long().clamp(0, 999) // (1000 // BINS), minlength=BINS)
    return {"share": shorter(counts / counts.sum(), 4), "draws": len(t)}


def diffusers_density(checkout):
    from diffusers import FlowMatchEulerDiscreteScheduler

    file = "examples/dreambooth/train_dreambooth_lora_sd3.py"
    draw = checkout.define("src/diffusers/training_utils.py", "compute_density_for_timestep_sampling", torch=torch,
                           math=math).compute_density_for_timestep_sampling  # fmt: skip
    body = checkout.lines(file, "main", "u = compute_density_for", "indices = (u", "timesteps = noise_scheduler_copy")

    def run():
        torch.manual_seed(0)
        args = argparse.Namespace(weighting_scheme="logit_normal", logit_mean=1.0, logit_std=1.0, mode_scale=1.29)
        space = body(compute_density_for_timestep_sampling=draw, args=args, bsz=DRAWS, model_input=torch.zeros(1),
                     noise_scheduler_copy=FlowMatchEulerDiscreteScheduler())  # fmt: skip
        return histogram(space["timesteps"] - 1)

    flow = "flow_prediction schedule=rectified_flow density=logit_normal"
    yield Case("diffusers-sd3-logit-normal", "density", file, "main", {"logit_mean": 1.0, "logit_std": 1.0}, run,
               f"{flow}:mean=-1,std=1", f"{flow}:mean=1,std=1",
               "The drawn number is an index into a list that starts at the noisiest step: logit_mean has the opposite "
               "sign of the paper's.")  # fmt: skip


def kohya_huber(checkout):
    names = ("get_huber_threshold_if_needed", "conditional_loss")
    defined = checkout.define(KOHYA_TRAIN, *names, torch=torch, math=math)
    error = torch.tensor([0.0, 0.01, 0.1, 0.5, 1.0, 3.0], dtype=torch.float64)  # float32 loses the small ones

    def run(**options):
        args, t = argparse.Namespace(**options), torch.tensor(STEPS)
        c = defined.get_huber_threshold_if_needed(args, t, scheduler())
        rows = [
            defined.conditional_loss(error, torch.zeros_like(error), args.loss_type, "none", row.double().expand(6))
            for row in (c[0], c[len(c) // 2], c[-1])
        ]
        return {"t": STEPS, "threshold": shorter(c), "error": shorter(error), "loss": [shorter(row) for row in rows],
                "loss_at_t": [STEPS[0], STEPS[len(STEPS) // 2], STEPS[-1]]}  # fmt: skip

    for kind in ("huber", "smooth_l1"):
        for schedule, scale in (("snr", 1.0), ("exponential", 1.5), ("constant", 2.0)):
            inputs = {"loss_type": kind, "huber_schedule": schedule, "huber_c": 0.1, "huber_scale": scale}
            spec = f"{kind}:c_schedule={schedule},c=0.1,scale={scale:g}"
            yield Case(f"kohya-{kind.replace('_', '-')}-{schedule}", "loss", KOHYA_TRAIN, ", ".join(names), inputs,
                       lambda inputs=inputs: run(**inputs), spec, None,
                       "Pseudo-Huber, with a threshold by timestep." + (
                           " huber_scale is ignored with this schedule." if schedule == "snr" else ""))  # fmt: skip
