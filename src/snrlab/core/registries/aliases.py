"""Other spellings of names: short forms, and those of other trainers. The one table of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# without underscores and hyphens, which make no difference to any name; `minsnr` and `Min-SNR` need no line here
ALIASES: Mapping[str, str] = {
    "v": "v_prediction",
    "vpred": "v_prediction",
    "velocity": "v_prediction",
    "vparameterization": "v_prediction",
    "eps": "epsilon",
    "x0": "sample",
    "flow": "flow_prediction",
    "minsnrgamma": "min_snr",
    "softminsnrgamma": "soft_min_snr",
    "debias": "debiased",
    "debiasedestimation": "debiased",
    "debiasedestimationloss": "debiased",
    "ipnoisegamma": "ip_noise",
    "inputperturbation": "ip_noise",
    "noiseoffset": "offset",
    "multires": "pyramid",
    "multiresnoise": "pyramid",
    "pyramidnoise": "pyramid",
    "ztsnr": "zero_terminal_snr",
    "zsnr": "zero_terminal_snr",
    "logitnorm": "logit_normal",
    "lognorm": "logit_normal",
}


def canonical(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that a name, or another spelling of one, stands for; None if there is none.

    >>> canonical("v", ["epsilon", "v_prediction"]), canonical("Min-SNR", ["min_snr"]), canonical("v", ["min_snr"])
    ('v_prediction', 'min_snr', None)
    """
    names = list(allowed)
    if name in names:
        return name
    plain = _plain(name)
    by_spelling = {_plain(one): one for one in names}
    target = by_spelling.get(plain) or ALIASES.get(plain)
    return target if target in names else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
