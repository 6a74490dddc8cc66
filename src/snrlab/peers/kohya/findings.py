"""Findings on kohya settings: options that sd-scripts ignores, and formulas that differ from the method named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snrlab.config.option_tables.kohya import RUN, closest_option
from snrlab.core.findings.finding import Finding
from snrlab.core.recipe import Recipe
from snrlab.core.schedule import SCHEDULES, zero_terminal_snr
from snrlab.core.weights.weighting import WEIGHTINGS
from snrlab.peers.kohya.settings import SQUARED, STEPS, KohyaSettings
from snrlab.peers.settings import other_loss

_LONGEST = 60  # characters of a value
FORKS = {
    "debias_limit_val": "EasyTrainer_Wasabi_addon",
    "timestep_attention": "EasyTrainer_Wasabi_addon",
    "time_attention": "EasyTrainer_Wasabi_addon",
    "scale_ip_gamma_noise": "EasyTrainer_Wasabi_addon",
    "save_lossmap": "EasyTrainer_Wasabi_addon",
    "ip_noise_gamma_scaling": "the 67372a fork",
    "edm2_loss_weighting": "the 67372a fork",
    "laplace_timestep_sampling_mu": "the 67372a fork",
    "laplace_timestep_sampling_b": "the 67372a fork",
    "flow_model": "the 67372a fork",
}


def unknown_options(options: Mapping[str, Any]) -> list[Finding]:
    """Findings on options that the program accepts silently and never reads."""
    findings = []
    for name in options:
        if name in RUN:
            continue
        if name in FORKS:
            message = f"{name} is an option of {FORKS[name]}; sd-scripts itself never reads it."
            findings.append(Finding("fork_option", "warning", message))
            continue
        suggestion = closest_option(name, RUN)
        hint = _hint(name, suggestion, options) if suggestion else ""
        message = f"{name} = {_short(options[name])} is no option of sd-scripts, which ignores it silently."
        findings.append(Finding("unknown_option", "warning", message, hint))
    return findings


def _hint(name: str, suggestion: str, options: Mapping[str, Any]) -> str:
    """What to do about an option whose name was misspelt, and the value in effect until then."""
    if suggestion in options:
        return f"Delete {name}, since {suggestion} is set too."
    default = RUN[suggestion].default
    now = "it is not set now" if default in ("", "None", "false") else f"its default of {default} holds now"
    return f"Did you mean {suggestion}? Rename {name}: {now}."


def _short(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def formulas(options: KohyaSettings) -> list[Finding]:
    """Findings on formulas whose numbers are not those of the methods that they are named after."""
    findings = [] if options.loss == SQUARED else [other_loss(f"loss_type {options.loss}")]
    weights = [n for n, on in (("min_snr_gamma", options.min_snr), ("debiased_estimation_loss", options.debiased),
                               ("scale_v_pred_loss_like_noise_pred", options.scale_v)) if on]  # fmt: skip
    if len(weights) > 1:
        twice = " The others contain scale_v_pred_loss_like_noise_pred already." if options.scale_v else ""
        both = "both" if len(weights) == 2 else "all"
        findings.append(
            Finding(
                "weights_multiply",
                "warning",
                f"{', '.join(weights[:-1])} and {weights[-1]} are {both} on, so their weights multiply.{twice}",
                "Keep one of them.",
            )
        )
    if options.adaptive is not None and options.noise_offset is None and not options.is_stated("noise_offset"):
        message = "adaptive_noise_scale needs noise_offset, which is not given: the program stops here."
        findings.append(
            Finding("needs_offset", "warning", message, "Set noise_offset, or leave adaptive_noise_scale out.")
        )
    if options.zero_terminal and options.v and weights:
        before = SCHEDULES.bind("sd")()
        factor = float(before.snr[900] / zero_terminal_snr(before).snr[900])
        findings.append(
            Finding(
                "stale_snr_table",
                "warning",
                f"the SNR in the weights is the schedule's before zero_terminal_snr rescaled it: {factor:.2f} "
                "times the right one at t = 900, and 0.0047 instead of 0 at the last step.",
                numbers={"factor_at_900": factor},
            )
        )
    if options.debiased and options.v:
        theirs = Recipe(prediction_type="v_prediction", weighting=(WEIGHTINGS.bind("kohya_debiased_v"),)).tables()
        paper = Recipe(prediction_type="v_prediction", zero_terminal_snr=options.zero_terminal,
                       weighting=(WEIGHTINGS.bind("debiased"),)).tables()  # fmt: skip
        weight_at = {
            f"{who}_{t}": float(x.weight[t]) for who, x in (("kohya", theirs), ("paper", paper)) for t in (900, 999)
        }
        findings.append(
            Finding(
                "kohya_debiased_v",
                "warning",
                "debiased_estimation_loss under v is not the paper's weight but the plain x0 loss: "
                f"{weight_at['kohya_900']:.3f} against {weight_at['paper_900']:.3f} at t = 900 and "
                f"{weight_at['kohya_999']:.3f} against {weight_at['paper_999']:.3g} at the end.",
                numbers=weight_at,
            )
        )
    if options.is_stated("max_timestep") and options.stop == STEPS - 1:
        findings.append(
            Finding(
                "max_timestep_exclusive",
                "warning",
                "max_timestep is exclusive in sd-scripts: with 999 the last timestep, t = 999, is never trained.",
                f"Set max_timestep to {STEPS}, or leave it out.",
            )
        )
    return findings
