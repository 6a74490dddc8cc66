"""Citations: every entry has its work, a recipe names exactly what it uses, and the BibTeX is BibTeX."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import tiny
from snrlab import __version__
from snrlab.config import dump
from snrlab.core.errors import UserError
from snrlab.core.lr_schedules import LR_SCHEDULES
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.registries.papers import PAPERS, paper, this_program
from snrlab.core.registries.registry import load_plugins
from snrlab.core.registries.tensor_registries import LOSSES, NOISES, OPTIMIZERS
from snrlab.core.schedule import SCHEDULES
from snrlab.core.timesteps.density import DENSITIES
from snrlab.core.weights.weighting import WEIGHTINGS
from snrlab.lab.cite import cite, to_bibtex

load_plugins()
REGISTRIES = (SCHEDULES, WEIGHTINGS, DENSITIES, PERTURBATIONS, NOISES, LOSSES, OPTIMIZERS, LR_SCHEDULES)
ROOT = Path(__file__).parent.parent.parent
FILES = Path(__file__).parent / "configurations"


def keys(text):
    return {work.key for work in cite(text)}


def test_every_entry_has_a_work_or_says_that_it_has_none():
    for registry in REGISTRIES:
        for entry in registry.values():
            assert paper(entry.paper) is not None or entry.paper.startswith(("none: ", "diffusers, "))


def test_works_are_whole_and_named_once():
    assert len({work.key for work in PAPERS.values()}) == len(PAPERS)
    for name, work in PAPERS.items():
        assert re.fullmatch(r"[\w-]+", work.key)
        assert work.title
        assert re.fullmatch(r"(\{.+\}|[^,]+, [^,]+)", work.authors.split(" and ")[0])
        if name.startswith("arXiv:"):
            assert re.fullmatch(r"\d{4}\.\d{5}", work.arxiv)
            assert work.year >= 2000 + int(work.arxiv[:2])  # it appears when it is put there, or later


@pytest.mark.parametrize(
    ("recipe", "added"),
    [
        ("plain", set()),
        ("min_snr", {"hang2023efficient"}),
        ("min_snr debiased", {"hang2023efficient", "yu2024unmasking"}),
        ("ip_noise", {"ning2023input"}),
        ("v_prediction zero_terminal_snr", {"salimans2022progressive", "lin2024common"}),
        ("schedule=cosine", {"nichol2021improved"}),
        ("density=laplace", {"hang2025improved"}),
        ("v_prediction kohya_before_rescale:of=min_snr:gamma=5",
         {"salimans2022progressive", "kohya-sd-scripts", "hang2023efficient"}),
        ("density=curve:points=0/1", set()),
    ],
)  # fmt: skip
def test_exactly_the_methods_in_use(recipe, added):
    schedule = set() if "cosine" in recipe else {"rombach2022high"}
    assert keys(recipe) == schedule | {"ho2020denoising", "snrlab"} | added


def test_a_trainers_file_cites_the_trainer():
    cited = keys(str(FILES / "everything.toml"))
    assert {"kohya-sd-scripts", "lin2024common", "ning2023input", "hang2023efficient", "snrlab"} <= cited


def test_a_run_cites_its_optimizer_and_its_adapter(tmp_path):
    config = tiny.run_config(
        tiny.save_model(tmp_path / "model"), tiny.save_pictures(tmp_path / "pictures"),
        train={"optimizer": "lion"}, lora={"dora": True},
    )  # fmt: skip
    (tmp_path / "run.toml").write_text(dump(config))
    assert {"chen2023symbolic", "hu2022lora", "liu2024dora"} <= keys(str(tmp_path / "run.toml"))
    assert "hayou2024lora" not in keys(str(tmp_path / "run.toml"))


def test_it_is_bibtex():
    text = to_bibtex(cite("v_prediction min_snr zero_terminal_snr pyramid"))
    assert text.count("{") == text.count("}")
    entries = re.findall(r"^@(\w+)\{([\w-]+),\n(.+?)\n\}", text, flags=re.S | re.M)
    assert len(entries) == text.count("@") == len(cite("v_prediction min_snr zero_terminal_snr pyramid"))
    for _, _, body in entries:
        assert {"author", "title"} <= {line.strip().split(" = ")[0] for line in body.split("\n")}
    assert "% weighting min_snr\n@inproceedings{hang2023efficient," in text


def test_the_file_for_others_says_the_same():
    stated = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    ours = this_program()
    assert (stated["title"], str(stated["version"])) == (ours.title, __version__)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert stated["license"] == project["license"]


def test_an_unknown_reference_is_told():
    with pytest.raises(UserError, match=r"arXiv:9999\.99999"):
        paper("arXiv:9999.99999")
