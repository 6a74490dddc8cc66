"""Cases of loss weights: every peer's own code on a loss of 1, which leaves the weight."""

import argparse
import logging
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from case import STEPS, Case, scheduler
from diffusers import DDPMScheduler

SNR = "library/custom_train_functions.py"
KOHYA = "kohya-ss/sd-scripts"
ONETRAINER = "modules/modelSetup/mixin/ModelSetupDiffusionLossMixin.py"
V = "v_prediction"
T = torch.tensor(STEPS)


def weights(values):
    return {"t": STEPS, "weight": [float(f"{float(x):.7g}") for x in values]}


def kohya_functions(checkout, file=SNR):
    space = {"torch": torch, "logger": logging.getLogger("peer")}
    names = ["prepare_scheduler_for_custom_training", "fix_noise_scheduler_betas_for_zero_terminal_snr"]
    names += ["apply_snr_weight", "apply_debiased_estimation"]
    if file == SNR:
        names += ["scale_v_prediction_loss_like_noise_prediction", "get_snr_scale", "add_v_prediction_like_loss"]
    return checkout.define(file, *names, **space)


def kohya(checkout):
    """As a training does: its scheduler from `get_noise_scheduler`, its weights from `post_process_loss`."""
    functions = kohya_functions(checkout)
    space = vars(functions) | {"DDPMScheduler": DDPMScheduler, "custom_train_functions": functions}
    trainer = checkout.methods(
        "train_network.py", "NetworkTrainer", "get_noise_scheduler", "post_process_loss", **space
    )()

    def run(**options):
        off = ("min_snr_gamma", "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss", "debiased_estimation_loss")
        args = argparse.Namespace(**dict.fromkeys((*off, "v_parameterization", "zero_terminal_snr")) | options)
        made = trainer.get_noise_scheduler(args, torch.device("cpu"))
        return weights(trainer.post_process_loss(torch.ones(len(T)), args, T, made))

    def case(name, function, options, ours, meant, note):
        return Case(name, "weight", SNR, function, options, lambda: run(**options), ours, meant, note)

    v, zero = {"v_parameterization": True}, {"v_parameterization": True, "zero_terminal_snr": True}
    gamma, debiased = {"min_snr_gamma": 5}, {"debiased_estimation_loss": True}
    stale = f"{V} zero_terminal_snr kohya_before_rescale:of=min_snr:gamma=5"
    yield case("kohya-min-snr", "apply_snr_weight", gamma, "min_snr:gamma=5", "min_snr:gamma=5",
               "Min-SNR as in its paper.")  # fmt: skip
    yield case("kohya-min-snr-v", "apply_snr_weight", gamma | v, f"{V} min_snr:gamma=5", f"{V} min_snr:gamma=5",
               "Min-SNR as in its paper, converted to v.")  # fmt: skip
    yield case("kohya-min-snr-v-zero-terminal", "apply_snr_weight", gamma | zero, stale,
               f"{V} zero_terminal_snr min_snr:gamma=5",
               "The SNR table is made before the schedule is rescaled: at t = 900 the weight is 4.8 times what it "
               "should be.")  # fmt: skip
    yield case("kohya-debiased", "apply_debiased_estimation", debiased, "debiased:max_snr=1000", "debiased",
               "The paper's weight with the SNR capped at 1000, which on this schedule changes step 0 only.")  # fmt: skip
    yield case("kohya-debiased-v", "apply_debiased_estimation", debiased | v, f"{V} kohya_debiased_v", f"{V} debiased",
               "1 / (S + 1) on v is the plain x0 loss; the paper's weight on v is sqrt(S) / (S + 1).")  # fmt: skip
    yield case("kohya-scale-v", "scale_v_prediction_loss_like_noise_prediction",
               {"scale_v_pred_loss_like_noise_pred": True} | v, f"{V} scale_v_pred_loss_like_noise_pred", f"{V} weighting=epsilon",
               "Turns the v loss into the plain epsilon loss; the cap of the SNR at 1000 changes step 0 by 0.015 %.")  # fmt: skip
    yield case("kohya-v-pred-like", "add_v_prediction_like_loss", {"v_pred_like_loss": 0.5},
               "v_pred_like_loss:scale=0.5", None, "Adds half the v loss to the epsilon loss.")  # fmt: skip
    yield case("kohya-min-snr-and-debiased-v", "apply_snr_weight, apply_debiased_estimation", gamma | debiased | v,
               f"{V} product_on=network min_snr:gamma=5 kohya_debiased_v", f"{V} min_snr:gamma=5 debiased",
               "Both weights multiply on the v loss, so that the conversion from epsilon counts twice.")  # fmt: skip


def diffusion_pipe(checkout):
    functions = kohya_functions(checkout, "models/sdxl.py")
    fix = functions.fix_noise_scheduler_betas_for_zero_terminal_snr

    def run(apply, **options):
        made = scheduler()
        functions.prepare_scheduler_for_custom_training(made)
        if options.get("v_prediction"):
            fix(made)
        return weights(apply(torch.ones(len(T)), T, made, **options))

    for name, apply, options, ours, meant, note in (
        ("min-snr", "apply_snr_weight", {"gamma": 5}, "min_snr:gamma=5", "min_snr:gamma=5", "Min-SNR as in its paper."),
        ("min-snr-v", "apply_snr_weight", {"gamma": 5, "v_prediction": True},
         f"{V} zero_terminal_snr kohya_before_rescale:of=min_snr:gamma=5", f"{V} zero_terminal_snr min_snr:gamma=5",
         "v-prediction always means zero terminal SNR here, and the SNR table is made before the rescale."),
        ("debiased-v", "apply_debiased_estimation", {"v_prediction": True},
         f"{V} zero_terminal_snr kohya_before_rescale:of=kohya_debiased_v", f"{V} zero_terminal_snr debiased",
         "As kohya: the plain x0 loss, from the table before the rescale."),
    ):  # fmt: skip
        run_it = getattr(functions, apply)
        yield Case(f"diffusion-pipe-{name}", "weight", "models/sdxl.py", apply, options,
                   lambda run_it=run_it, options=options: run(run_it, **options), ours, meant, note)  # fmt: skip


def onetrainer(checkout):
    names = [f"__{n}" for n in ("snr", "min_snr_weight", "debiased_estimation_weight", "p2_loss_weight")]
    made = checkout.methods(ONETRAINER, "ModelSetupDiffusionLossMixin", *names, torch=torch)()
    file = "modules/util/DiffusionScheduleCoefficients.py"
    table = checkout.define(file, "DiffusionScheduleCoefficients", torch=torch).DiffusionScheduleCoefficients
    mangled = "_ModelSetupDiffusionLossMixin__"

    def run(name, *values):  # a fresh table for each call: the weights are computed in place
        setattr(made, f"{mangled}coefficients", table.from_betas(scheduler().betas))
        return weights(getattr(made, f"{mangled}{name}")(T, *values, torch.device("cpu")))

    for name, function, values, ours, meant, note in (
        ("min-snr", "min_snr_weight", (5.0, False), "min_snr:gamma=5", "min_snr:gamma=5", "Min-SNR as in its paper."),
        ("min-snr-v", "min_snr_weight", (5.0, True), f"{V} min_snr:gamma=5", f"{V} min_snr:gamma=5",
         "Min-SNR as in its paper, converted to v."),
        ("debiased", "debiased_estimation_weight", (False,), "debiased:max_snr=1000", "debiased",
         "The paper's weight with the SNR capped at 1000, which on this schedule changes step 0 only."),
        ("debiased-v", "debiased_estimation_weight", (True,), f"{V} onetrainer_debiased_v", f"{V} debiased",
         "1 / sqrt(S + 1): the 1 is added under the root, and nothing is converted to v."),
        ("p2", "p2_loss_weight", (1.0, False), "p2:k=1,gamma=1", "p2:k=1,gamma=1", "P2 as in its paper, with k = 1."),
        ("p2-v", "p2_loss_weight", (1.0, True), f"{V} onetrainer_p2_v:gamma=1", f"{V} p2:k=1,gamma=1",
         "(2 + S)^-gamma: 1 is added twice, and nothing is converted to v."),
    ):  # fmt: skip
        inputs = {"strength": values[0], "v_prediction": values[-1]} if len(values) > 1 else {"v_prediction": values[0]}
        yield Case(f"onetrainer-{name}", "weight", ONETRAINER, f"__{function}", inputs,
                   lambda function=function, values=values: run(function, *values), ours, meant, note)  # fmt: skip


def ai_toolkit(checkout):
    file = "toolkit/train_tools.py"
    defined = checkout.define(file, "get_all_snr", "apply_snr_weight", torch=torch)

    def run(**options):
        return weights(defined.apply_snr_weight(torch.ones(len(T)), T, scheduler(), 5, **options))

    for name, options, ours, meant, note in (
        ("min-snr", {}, "min_snr:gamma=5", "min_snr:gamma=5", "Min-SNR as in its paper, for epsilon."),
        ("min-snr-v", {}, f"{V} ai_toolkit_min_snr_v:gamma=5", f"{V} min_snr:gamma=5",
         "The function has no prediction type: on v it applies the epsilon weight."),
        ("snr-gamma", {"fixed": True}, "ai_toolkit_snr_gamma:gamma=5", "min_snr:gamma=5",
         "gamma / S without the clip at 1: five times the plain x0 loss."),
    ):  # fmt: skip
        yield Case(f"ai-toolkit-{name}", "weight", file, "apply_snr_weight", {"gamma": 5} | options,
                   lambda options=options: run(**options), ours, meant, note)  # fmt: skip


def diffusers(checkout):
    snr = checkout.define("src/diffusers/training_utils.py", "compute_snr", torch=torch).compute_snr
    files = {
        "text-to-image": "examples/text_to_image/train_text_to_image.py",
        "dreambooth": "examples/dreambooth/train_dreambooth.py",
        "dreambooth-lora-sdxl": "examples/dreambooth/train_dreambooth_lora_sdxl.py",
        "pixart-controlnet": "examples/research_projects/pixart/train_pixart_controlnet_hf.py",
    }
    right, x0 = "min_snr:gamma=5", "sample min_snr:gamma=5"
    for name, kind, ours, meant, note in (
        ("text-to-image", "epsilon", right, right, "Min-SNR as in its paper."),
        ("text-to-image", V, f"{V} {right}", f"{V} {right}", "Min-SNR as in its paper, converted to v."),
        ("text-to-image", "sample", x0, x0, "Min-SNR as in its paper, on x0."),
        ("dreambooth", V, f"{V} {right}", f"{V} {right}", "Min-SNR as in its paper, converted to v."),
        ("dreambooth", "sample", None, x0, "On x0 the epsilon weight min(S, 5) / S is used."),
        ("dreambooth-lora-sdxl", "epsilon", right, right, "Min-SNR as in its paper."),
        ("dreambooth-lora-sdxl", V, f"{V} diffusers_dreambooth_min_snr_v:gamma=5", f"{V} {right}",
         "1 is added to the epsilon weight, so that on v it lies between 1 and 2 and hardly weights at all."),
        ("pixart-controlnet", V, f"{V} diffusers_pixart_min_snr_v:gamma=5", f"{V} {right}",
         "min(S + 1, 5) / (S + 1): noisy steps keep the plain v loss."),
    ):  # fmt: skip
        body = checkout.lines(files[name], "main", "args.snr_gamma is None ELSE")

        def run(body=body, kind=kind):
            made = scheduler(prediction_type=kind)
            pixels = torch.zeros(len(T), 1, 1, 1)
            space = body(args=argparse.Namespace(snr_gamma=5.0), compute_snr=snr, noise_scheduler=made, timesteps=T,
                         torch=torch, F=F, model_pred=pixels, target=pixels + 1)  # fmt: skip
            return weights(space["mse_loss_weights"])

        short = {V: "v"}.get(kind, kind)
        yield Case(f"diffusers-{name}-{short}", "weight", files[name], "main, from `if args.snr_gamma is None`",
                   {"snr_gamma": 5, "prediction_type": kind}, run, ours, meant, note)  # fmt: skip


def simple_tuner(checkout):
    file, other = "simpletuner/helpers/models/common.py", "simpletuner/helpers/training/min_snr_gamma.py"
    snr = checkout.define(other, "compute_snr").compute_snr
    body = checkout.lines(file, "loss", "self.config.snr_gamma is None or self.config.snr_gamma == 0 ELSE")

    def run(kind, **options):
        config = SimpleNamespace(snr_gamma=5.0, **options)
        kinds = SimpleNamespace(V_PREDICTION=SimpleNamespace(value=V))
        pixels = torch.zeros(len(T), 1, 1, 1)
        space = body(self=SimpleNamespace(config=config, noise_schedule=scheduler(prediction_type=kind)),
                     compute_snr=snr, prepared_batch={"timesteps": T}, PredictionTypes=kinds, torch=torch, F=F,
                     model_pred=pixels, target=pixels + 1)  # fmt: skip
        return weights(space["loss"].flatten())

    right = "min_snr:gamma=5"
    for name, kind, options, ours, meant, note in (
        ("min-snr", "epsilon", {}, right, right, "Min-SNR as in its paper."),
        ("min-snr-v", V, {}, f"{V} {right}", f"{V} {right}", "Min-SNR as in its paper, converted to v."),
        ("soft-min-snr", "epsilon", {"use_soft_min_snr": True}, right, "soft_min_snr:gamma=5",
         "use_soft_min_snr is never handed to compute_snr: the loss is Min-SNR's with and without it."),
    ):  # fmt: skip
        yield Case(f"simpletuner-{name}", "weight", file, "loss, from `if self.config.snr_gamma is None`",
                   {"snr_gamma": 5, "prediction_type": kind} | options,
                   lambda kind=kind, options=options: run(kind, **options), ours, meant, note)  # fmt: skip


def every_dream(checkout):
    snr = checkout.define("train.py", "compute_snr", torch=torch, logging=logging).compute_snr
    body = checkout.lines("train.py", "get_model_prediction_and_target", "args.min_snr_gamma is not None")

    def run():
        space = body(args=argparse.Namespace(min_snr_gamma=5), compute_snr=snr, timesteps=T, torch=torch,
                     noise_scheduler=scheduler(), loss_scale=torch.ones(len(T)))  # fmt: skip
        return weights(space["loss_scale"])

    for name, ours, meant, note in (
        ("min-snr", "min_snr:gamma=5", "min_snr:gamma=5", "Min-SNR as in its paper."),
        ("min-snr-v", f"{V} ai_toolkit_min_snr_v:gamma=5", f"{V} min_snr:gamma=5",
         "The prediction type is not asked: on v it applies the epsilon weight, as ai-toolkit does."),
    ):  # fmt: skip
        yield Case(f"everydream2-{name}", "weight", "train.py", "get_model_prediction_and_target",
                   {"min_snr_gamma": 5}, run, ours, meant, note)  # fmt: skip


def wasabi(checkout):
    file = "changes/backend/sd_scripts/library/custom_train_functions.py"
    defined = checkout.define(file, "prepare_scheduler_for_custom_training", "apply_debiased_estimation", torch=torch)

    def run(limit):
        made = scheduler()
        defined.prepare_scheduler_for_custom_training(made, torch.device("cpu"))
        return weights(defined.apply_debiased_estimation(torch.ones(len(T)), T, made, limit))

    yield Case("wasabi-debiased-limited", "weight", file, "apply_debiased_estimation", {"debias_limit_val": 7},
               lambda: run(7), "debiased:max_snr=1000 max_weight=7", "debiased max_weight=7",
               "Debiased with its weight limited to 7, which flattens it from t = 866 on; the SNR is capped at 1000.")  # fmt: skip
