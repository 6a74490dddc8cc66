"""Makes the fixtures of this folder: each is what a peer's own function gave, run outside this project.

    python dump.py kohya-ss/sd-scripts=CLONE huggingface/diffusers=CLONE ...

A CLONE is a git clone of that repository, bare or not; its HEAD is what is run. The functions are taken out of its
files at run time and handed the same inputs, and nothing of them is kept. Needs torch, diffusers and snrlab.
"""

import json
import re
import sys
from pathlib import Path

import densities
import noises
import references
import weights
from checkout import Checkout

sys.path.insert(0, str(Path(__file__).parent.parent))
from agreement import agreement

LICENCES = {
    "kohya-ss/sd-scripts": "Apache-2.0",
    "Nerogar/OneTrainer": "AGPL-3.0",
    "huggingface/diffusers": "Apache-2.0",
    "ostris/ai-toolkit": "MIT",
    "bghira/SimpleTuner": "AGPL-3.0",
    "tdrussell/diffusion-pipe": "GPL-3.0",
    "victorchall/EveryDream2trainer": "AGPL-3.0",
    "kukaiN/EasyTrainer_Wasabi_addon": "GPL-3.0",
    "crowsonkb/k-diffusion": "MIT",
    "TiankaiHang/Min-SNR-Diffusion-Training": "none stated",
    "jychoi118/P2-weighting": "MIT",
    "yuhuUSTC/Debias": "MIT",
    "forever208/DDPM-IP": "MIT",
}
MAKERS = {
    "kohya-ss/sd-scripts": [weights.kohya, noises.kohya_schedule, noises.kohya_perturbation, densities.kohya_huber],
    "Nerogar/OneTrainer": [weights.onetrainer, noises.onetrainer_perturbation, densities.onetrainer_density],
    "huggingface/diffusers": [weights.diffusers, noises.diffusers_schedule, noises.diffusers_perturbation,
                              densities.diffusers_density],
    "ostris/ai-toolkit": [weights.ai_toolkit],
    "bghira/SimpleTuner": [weights.simple_tuner],
    "tdrussell/diffusion-pipe": [weights.diffusion_pipe],
    "victorchall/EveryDream2trainer": [weights.every_dream],
    "kukaiN/EasyTrainer_Wasabi_addon": [weights.wasabi, noises.wasabi_perturbation],
    "crowsonkb/k-diffusion": [references.k_diffusion],
    "forever208/DDPM-IP": [noises.reference_perturbation],
    **{name: [lambda checkout: references.references(checkout.repository, checkout)] for name in (
        "TiankaiHang/Min-SNR-Diffusion-Training", "jychoi118/P2-weighting", "yuhuUSTC/Debias")},
}  # fmt: skip


def fixture(case, checkout):
    content = {
        "repository": checkout.repository,
        "commit": checkout.commit,
        "file": case.file,
        "function": case.function,
        "licence": LICENCES[checkout.repository],
        "command": f"python tests/parity/peers/dump.py {checkout.repository}=CLONE",
        "derived": False,
        "kind": case.kind,
        "inputs": case.inputs,
        "outputs": case.run(),
        "ours": case.ours,
        "meant": case.meant,
        "note": case.note,
    }
    return content | {"agrees": case.meant is None or agreement(content, case.meant)}


def main(clones):
    folder = Path(__file__).parent
    for word in clones:
        repository, _, path = word.partition("=")
        checkout = Checkout(repository, Path(path))
        for maker in MAKERS[repository]:
            for case in maker(checkout):
                content = json.dumps(fixture(case, checkout), indent=1)
                (folder / f"{case.name}.json").write_text(compact(content) + "\n", encoding="utf-8")
                print(case.name)


def compact(text):
    """Lists of numbers on one line."""
    return re.sub(r"\[\s+([-\d.e,\s]+?)\s+\]", lambda m: "[" + ", ".join(m[1].replace(",", " ").split()) + "]", text)


if __name__ == "__main__":
    main(sys.argv[1:])
