"""Cases of loss weights from the code of the papers' own authors."""

import torch
from case import Case, scheduler
from weights import T, V, weights

GUIDED = "guided_diffusion/gaussian_diffusion.py"


def guided(checkout, kind, made_with, target="EPSILON", *stand_ins):
    """Runs `training_losses` on x0 = 0, noise 1 and an output of 0: its weighted loss over its plain one."""
    module = checkout.package("guided_diffusion", *stand_ins)
    diffusion = module.GaussianDiffusion(
        betas=scheduler().betas.double().numpy(), model_mean_type=module.ModelMeanType[target],
        model_var_type=module.ModelVarType.FIXED_LARGE, loss_type=module.LossType.MSE, **made_with)  # fmt: skip
    start = torch.full((len(T), 1, 1, 1), 0.5)
    noise = torch.full_like(start, -1.0)
    seen = {}

    def model(x_t, t, **_):
        seen["x_t"] = x_t
        return torch.zeros_like(x_t)

    terms = diffusion.training_losses(model, start, T, noise=noise)
    if "mse_raw" in terms:
        return weights(terms["mse"] / terms["mse_raw"])
    return weights(terms["mse"])  # the noise has size 1


def references(repository, checkout):
    """The code of the papers' own authors."""
    right, same = "min_snr:gamma=5", "The authors' own code."
    cases = {
        "TiankaiHang/Min-SNR-Diffusion-Training": [
            ("min-snr-reference", {"mse_loss_weight_type": "min_snr_5"}, "EPSILON", right, right, same),
            ("min-snr-reference-x0", {"mse_loss_weight_type": "min_snr_5"}, "START_X", f"sample {right}",
             f"sample {right}", same),
            ("min-snr-reference-v", {"mse_loss_weight_type": "vmin_snr_5"}, "VELOCITY", f"{V} {right}", f"{V} {right}",
             "The authors' own code, by the name vmin_snr_5."),
            ("min-snr-reference-v-by-the-plain-name", {"mse_loss_weight_type": "min_snr_5"}, "VELOCITY",
             f"{V} ai_toolkit_min_snr_v:gamma=5", f"{V} {right}",
             "min_snr_5 with v-prediction gives the epsilon weight; for v one has to write vmin_snr_5."),
            ("max-snr-reference", {"mse_loss_weight_type": "max_snr_1"}, "EPSILON", "max_snr:gamma=1",
             "max_snr:gamma=1", same),
        ],
        "jychoi118/P2-weighting": [
            ("p2-reference", {"p2_gamma": 1, "p2_k": 1}, "EPSILON", "p2:k=1,gamma=1", "p2:k=1,gamma=1", same),
            ("p2-reference-half", {"p2_gamma": 0.5, "p2_k": 1}, "EPSILON", "p2:k=1,gamma=0.5", "p2:k=1,gamma=0.5",
             same),
        ],
        "yuhuUSTC/Debias": [("debiased-reference", {}, "EPSILON", "debiased", "debiased", same)],
    }  # fmt: skip
    for name, options, target, ours, meant, note in cases[repository]:
        yield Case(name, "weight", GUIDED, "GaussianDiffusion.training_losses", options | {"model_mean_type": target},
                   lambda options=options, target=target: guided(
                       checkout, "weight", options, target, "cv2", "matplotlib", "matplotlib.pyplot", "tqdm.auto"),
                   ours, meant, note)  # fmt: skip


def k_diffusion(checkout):
    file = "k_diffusion/layers.py"
    denoiser = checkout.methods(file, "Denoiser", "_weighting_soft_min_snr")()
    denoiser.sigma_data = 1.0

    def run():
        alphas = scheduler().alphas_cumprod[T]
        return weights(denoiser._weighting_soft_min_snr(((1 - alphas) / alphas).sqrt()))

    yield Case("k-diffusion-soft-min-snr", "weight", file, "Denoiser._weighting_soft_min_snr", {"sigma_data": 1.0}, run,
               f"{V} soft_min_snr:gamma=1", f"{V} soft_min_snr:gamma=1",
               "Soft-Min-SNR with gamma = 1 / sigma_data^2, on its preconditioned output, which is v.")  # fmt: skip
