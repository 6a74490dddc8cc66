"""Cases of rescaled schedules, perturbations and noise."""

import argparse
import logging
import random

import torch
from case import STEPS, Case, scheduler
from references import GUIDED
from torch.nn.functional import avg_pool2d

KOHYA_NOISE, KOHYA_TRAIN = "library/custom_train_functions.py", "library/train_util.py"
AT = [0, 100, 353, 500, 700, 900, 999]
GAMMA = 0.1


def shorter(values, digits=7):
    return [float(f"{float(x):.{digits}g}") for x in values]


def zero_terminal(name, file, function, rescale):
    def run():
        abar = torch.cumprod(1 - rescale(scheduler().betas.double()), 0)
        return {"t": STEPS, "snr": shorter((abar / (1 - abar))[STEPS])}

    return Case(name, "snr", file, function, {"betas": "scaled_linear 0.00085 to 0.012, 1000 steps, float64"}, run,
                "v_prediction zero_terminal_snr", "v_prediction zero_terminal_snr", "The paper's algorithm 1.")  # fmt: skip


def diffusers_schedule(checkout):
    file = "src/diffusers/schedulers/scheduling_ddpm.py"
    rescale = checkout.define(file, "rescale_zero_terminal_snr", torch=torch).rescale_zero_terminal_snr
    yield zero_terminal("diffusers-zero-terminal", file, "rescale_zero_terminal_snr", rescale)


def kohya_schedule(checkout):
    name = "fix_noise_scheduler_betas_for_zero_terminal_snr"
    defined = checkout.define(KOHYA_NOISE, name, torch=torch, logger=logging.getLogger("peer"))

    def rescale(betas):
        made = argparse.Namespace(betas=betas)
        getattr(defined, name)(made)
        return made.betas

    yield zero_terminal("kohya-zero-terminal", KOHYA_NOISE, name, rescale)


def perturbation(name, file, function, inputs, call, ours, meant, note, repeats=1):
    """`call(x0, t)` gives (network input, noise in the target) at one timestep."""

    def run():
        torch.manual_seed(0)
        random.seed(0)
        abar = scheduler().alphas_cumprod
        sums = torch.zeros(3, len(AT))
        for column, t in enumerate(AT):
            for _ in range(repeats):
                x0 = torch.randn(4, 4, 64, 64) if repeats == 1 else torch.randn(1, 4, 16, 16)
                x_t, noise = call(x0, t)
                inside = (x_t - abar[t] ** 0.5 * x0) / (1 - abar[t]) ** 0.5
                parts = (inside, noise, inside - noise)
                sums[:, column] += torch.stack([p.square().mean() for p in parts]) / repeats
        names = ("input_noise", "target_noise", "only_in_the_input")
        return {"t": AT, **{n: shorter(row.sqrt(), 4) for n, row in zip(names, sums, strict=True)}}

    return Case(name, "perturbation", file, function, inputs, run, ours, meant, note)


def kohya_perturbation(checkout):
    names = ("get_timesteps", "get_noise_noisy_latents_and_timesteps")
    offset = checkout.define(KOHYA_NOISE, "apply_noise_offset", "pyramid_noise_like", torch=torch, random=random)
    defined = checkout.define(KOHYA_TRAIN, *names, torch=torch, custom_train_functions=offset)

    def call(x0, t, **options):
        off = ("noise_offset", "multires_noise_iterations", "ip_noise_gamma_random_strength", "adaptive_noise_scale")
        args = argparse.Namespace(**dict.fromkeys(off) | options, min_timestep=t, max_timestep=t)
        noise, x_t, _ = defined.get_noise_noisy_latents_and_timesteps(args, scheduler(), x0)
        return x_t, noise

    for name, options, ours, note, repeats in (
        ("kohya-ip-noise", {}, f"ip_noise:gamma={GAMMA}", "Input perturbation as in its paper: the target is clean.", 1),
        ("kohya-ip-noise-random", {"ip_noise_gamma_random_strength": True},
         f"ip_noise_random:gamma={GAMMA},per=batch",
         "One strength between 0 and gamma for a whole batch: in the root mean square gamma / sqrt(3).", 1500),
    ):  # fmt: skip
        inputs = {"ip_noise_gamma": GAMMA} | options
        yield perturbation(name, KOHYA_TRAIN, names[1], inputs,
                           lambda x0, t, inputs=inputs: call(x0, t, **inputs), ours, f"ip_noise:gamma={GAMMA}", note,
                           repeats)  # fmt: skip

    def noise_of(**options):
        off = ("ip_noise_gamma", "noise_offset_random_strength", "noise_offset", "multires_noise_iterations")
        args = argparse.Namespace(**dict.fromkeys((*off, "adaptive_noise_scale")) | options,
                                  min_timestep=0, max_timestep=0)  # fmt: skip
        return lambda x0: defined.get_noise_noisy_latents_and_timesteps(args, scheduler(), x0)[0]

    yield spectrum("kohya-noise-offset", KOHYA_NOISE, "apply_noise_offset", {"noise_offset": 0.3},
                   noise_of(noise_offset=0.3), "offset:strength=0.3", "Each channel gets one number more.", 1500)  # fmt: skip
    options = {"multires_noise_iterations": 6, "multires_noise_discount": 0.3}
    yield spectrum("kohya-multires-noise", KOHYA_NOISE, "pyramid_noise_like", options, noise_of(**options),
                   "pyramid:iterations=6,discount=0.3",
                   "Coarser noise is added, then all of it scaled to standard deviation 1 over the batch.", 1500)  # fmt: skip
    yield spectrum("kohya-noise-offset-and-multires", KOHYA_TRAIN, names[1], {"noise_offset": 0.3} | options,
                   noise_of(noise_offset=0.3, **options), "offset_pyramid:strength=0.3,iterations=6,discount=0.3",
                   "The offset first, then multires noise with its scaling on top of it.", 1500)  # fmt: skip


def spectrum(name, file, function, inputs, call, ours, note, repeats):
    """Variance of the means of blocks of 1, 2, ... elements a side."""

    def run():
        torch.manual_seed(0)
        random.seed(0)
        noise = torch.cat([call(torch.zeros(1, 4, 32, 32)) for _ in range(repeats)])
        blocks = [1, 2, 4, 8, 16, 32]
        return {"block": blocks, "variance": shorter([avg_pool2d(noise, b).var() for b in blocks], 4)}

    return Case(name, "noise", file, function, inputs, run, ours, ours, note)


def reference_perturbation(checkout):
    module = checkout.package("guided_diffusion")
    kinds = {"model_mean_type": "EPSILON", "model_var_type": "FIXED_LARGE", "loss_type": "MSE"}
    words = {"model_mean_type": "ModelMeanType", "model_var_type": "ModelVarType", "loss_type": "LossType"}
    made = module.GaussianDiffusion(betas=scheduler().betas.double().numpy(), input_pertub=GAMMA,
                                    **{k: getattr(module, words[k])[v] for k, v in kinds.items()})  # fmt: skip

    def call(x0, t):
        seen, noise = [], torch.randn_like(x0)

        def model(x_t, t):
            seen.append(x_t)
            return noise

        terms = made.training_losses(model, x0, torch.full((len(x0),), t), noise=noise)
        assert float(terms["mse"].max()) == 0, "the target is the noise that was given"
        return seen[0], noise

    same = f"ip_noise:gamma={GAMMA}"
    yield perturbation("ip-noise-reference", GUIDED, "GaussianDiffusion.training_losses", {"input_pertub": GAMMA}, call,
                       same, same, "The authors' own code: only the input is perturbed.")  # fmt: skip


def diffusers_perturbation(checkout):
    file = "examples/text_to_image/train_text_to_image.py"
    body = checkout.lines(file, "main", "new_noise = ", "noisy_latents = noise_scheduler.add_noise(latents, new_noise")

    def call(x0, t):
        noise = torch.randn_like(x0)
        space = body(noise=noise, latents=x0, timesteps=torch.full((len(x0),), t), noise_scheduler=scheduler(),
                     args=argparse.Namespace(input_perturbation=GAMMA), torch=torch)  # fmt: skip
        return space["noisy_latents"], noise

    same = f"ip_noise:gamma={GAMMA}"
    yield perturbation("diffusers-ip-noise", file, "main", {"input_perturbation": GAMMA}, call, same, same,
                       "Input perturbation as in its paper: the target is clean.")  # fmt: skip


def wasabi_perturbation(checkout):
    file = "changes/backend/sd_scripts/library/train_util.py"
    function = "get_noise_noisy_latents_and_timesteps_TA"  # what its trainers call, with and without its option
    body = checkout.lines(file, function, "args.ip_noise_gamma")

    def call(x0, t, **options):
        abar, noise = scheduler().alphas_cumprod, torch.randn_like(x0)
        made = scheduler()
        made.all_snr = abar / (1 - abar)
        args = argparse.Namespace(ip_noise_gamma=GAMMA, ip_noise_gamma_random_strength=False, **options)
        space = body(args=args, noise=noise, latents=x0, timesteps=torch.full((len(x0),), t), noise_scheduler=made,
                     torch=torch, random=random)  # fmt: skip
        return space["noisy_latents"], noise

    drift = "also without the option for it: its root mean square is 1.04 gamma"
    for name, options, meant, note in (
        ("wasabi-ip-noise", {}, f"ip_noise:gamma={GAMMA}", f"The strength varies by half up and down, {drift}."),
        ("wasabi-ip-noise-snr", {"scale_ip_gamma_noise": True}, f"ip_noise_snr:gamma={GAMMA}",
         f"gamma min(1, sqrt(S)), varied by half up and down, {drift}."),
    ):  # fmt: skip
        yield perturbation(name, file, function, {"ip_noise_gamma": GAMMA} | options,
                           lambda x0, t, options=options: call(x0, t, **options), None, meant, note, 1500)  # fmt: skip


def onetrainer_perturbation(checkout):
    file = "modules/modelSetup/mixin/ModelSetupNoiseMixin.py"
    made = checkout.methods(file, "ModelSetupNoiseMixin", "__init__", "_create_noise", torch=torch)
    made.__init__ = lambda self: None
    config = argparse.Namespace(train_device="cpu", offset_noise_weight=0.0, perturbation_noise_weight=GAMMA)

    def call(x0, t):
        noise = made()._create_noise(x0, config, torch.Generator().manual_seed(t))
        return scheduler().add_noise(x0, noise, torch.full((len(x0),), t)), noise

    yield perturbation(
        "onetrainer-perturbation", file, "_create_noise", {"perturbation_noise_weight": GAMMA}, call, None,
        f"ip_noise:gamma={GAMMA}",
        "The extra noise goes into the target too (the one `noise` is used for both), so nothing is perturbed: it is "
        "training on noise of standard deviation sqrt(1 + gamma^2).",
    )  # fmt: skip
