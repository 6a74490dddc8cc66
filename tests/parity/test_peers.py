"""Peers' formulas, re-typed from their sources, against ours: agreements and, as tests too, disagreements.

Sources: kohya-ss/sd-scripts library/custom_train_functions.py; Nerogar/OneTrainer
modules/modelSetup/mixin/ModelSetupDiffusionLossMixin.py; ostris/ai-toolkit toolkit/train_tools.py;
huggingface/diffusers examples/text_to_image, examples/dreambooth, examples/research_projects/pixart;
TiankaiHang/Min-SNR-Diffusion-Training guided_diffusion/gaussian_diffusion.py; yuhuUSTC/Debias.
"""

import numpy as np
import pytest

from snrlab import SCHEDULES, WEIGHTINGS, Recipe
from snrlab.core.loss_weight import loss_weight

SD = SCHEDULES.bind("sd")()
S = SD.snr
CAPPED = np.minimum(S, 1000)
PEERS = {
    "kohya min_snr eps": (np.minimum(S, 5) / S, ["min_snr"], "epsilon"),
    "kohya min_snr v": (np.minimum(S, 5) / (S + 1), ["min_snr"], "v_prediction"),
    "kohya debiased eps": (1 / np.sqrt(CAPPED), ["debiased:max_snr=1000"], "epsilon"),
    "kohya debiased v": (1 / (CAPPED + 1), ["kohya_debiased_v"], "v_prediction"),
    "kohya scale_v": (CAPPED / (CAPPED + 1), ["scale_v_pred_loss_like_noise_pred"], "v_prediction"),
    "kohya v_pred_like": (1 + 0.5 / (CAPPED / (CAPPED + 1)), ["v_pred_like_loss:scale=0.5"], "epsilon"),
    "OneTrainer min_snr v": (np.minimum(S, 5) / (S + 1), ["min_snr"], "v_prediction"),
    "OneTrainer debiased v": ((CAPPED + 1) ** -0.5, ["onetrainer_debiased_v"], "v_prediction"),
    "OneTrainer p2 eps": (1 / (1 + S), ["p2"], "epsilon"),
    "OneTrainer p2 v": (1 / (2 + S), ["onetrainer_p2_v"], "v_prediction"),
    "ai-toolkit min_snr v": (np.minimum(5 / S, 1), ["ai_toolkit_min_snr_v"], "v_prediction"),
    "ai-toolkit snr_gamma eps": (5 / S, ["ai_toolkit_snr_gamma"], "epsilon"),
    "diffusers text_to_image v": (np.minimum(S, 5) / (S + 1), ["min_snr"], "v_prediction"),
    "diffusers dreambooth v": (np.minimum(S, 5) / S + 1, ["diffusers_dreambooth_min_snr_v"], "v_prediction"),
    "diffusers pixart v": (np.minimum(S + 1, 5) / (S + 1), ["diffusers_pixart_min_snr_v"], "v_prediction"),
    "Min-SNR reference x0": (np.minimum(S, 5), ["min_snr"], "sample"),
    "Min-SNR reference v": (np.minimum(S, 5) / (S + 1), ["min_snr"], "v_prediction"),
    "Debias reference eps": (1 / np.sqrt(S), ["debiased"], "epsilon"),
}


@pytest.mark.parametrize("name", PEERS)
def test_we_reproduce(name):
    theirs, specs, prediction_type = PEERS[name]
    ours = loss_weight([WEIGHTINGS.parse(s) for s in specs], SD.log_snr, prediction_type)
    assert ours == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize(
    ("variant", "paper"),
    [
        ("kohya_debiased_v", "debiased"),
        ("onetrainer_debiased_v", "debiased"),
        ("onetrainer_p2_v", "p2"),
        ("diffusers_dreambooth_min_snr_v", "min_snr"),
        ("diffusers_pixart_min_snr_v", "min_snr"),
        ("ai_toolkit_min_snr_v", "min_snr"),
    ],
)
def test_the_variants_are_not_the_paper(variant, paper):
    theirs, ours = (loss_weight([WEIGHTINGS.parse(s)], SD.log_snr, "v_prediction") for s in (variant, paper))
    assert theirs[999] / ours[999] > 10, "the noisiest steps count at least ten times more"


def test_kohya_uses_the_table_from_before_the_rescale():
    """sd-scripts builds all_snr before it rescales the schedule (issues #1263, #1905): weights off by 4.8 at 900."""
    stale = np.minimum(S, 5) / (S + 1)
    ours = Recipe(
        weighting=(WEIGHTINGS.parse("min_snr"),), prediction_type="v_prediction", zero_terminal_snr=True
    ).tables()
    assert stale[900] / ours.weight[900] == pytest.approx(4.8, abs=0.1)


def test_several_weights_of_a_peer_multiply_on_the_network():
    specs = [WEIGHTINGS.parse("min_snr"), WEIGHTINGS.parse("kohya_debiased_v")]
    theirs = np.minimum(S, 5) / (S + 1) / (CAPPED + 1)
    assert loss_weight(specs, SD.log_snr, "v_prediction", "network") == pytest.approx(theirs)
    assert not np.allclose(loss_weight(specs, SD.log_snr, "v_prediction"), theirs)
