"""Explanations: what is said of settings is what the programs compute, and bad files end in one message."""

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from snrlab.config.option_tables.kohya import RUN
from snrlab.core.errors import UserError
from snrlab.core.schedule import SCHEDULES, zero_terminal_snr
from snrlab.lab import explain_text
from snrlab.lab.explain import explain, explanation_as_data
from snrlab.lab.recipe_text import parse_recipe, write_recipe
from snrlab.model_files.header import read_header
from snrlab.peers.onetrainer.density import DISTRIBUTIONS, density, options_of

FILES = Path(__file__).parent / "configurations"
SNR = SCHEDULES.bind("sd")().snr
CAPPED = np.minimum(SNR, 1000)


def toml(folder, name="run.toml", **options):
    file = folder / name
    file.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in options.items()))
    return file


def onetrainer(folder, **options):
    file = folder / "config.json"
    file.write_text(json.dumps({"training_method": "LORA", "model_type": "STABLE_DIFFUSION_XL_10_BASE", **options}))
    return file


def lora(folder, metadata, name="lora.safetensors"):
    header = {
        "__metadata__": metadata,
        "lora_unet_x.lora_down.weight": {"dtype": "F16", "shape": [1, 1], "data_offsets": [0, 2]},
    }
    text = json.dumps(header).encode()
    file = folder / name
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"\0\0")
    return file


def codes(explained):
    return {f.code for f in explained.findings}


def test_everything_at_once():
    """The configuration of the issue that asked for this: each of its faults is named, with its number."""
    explained = explain(FILES / "everything.toml")
    by_code = {f.code: f for f in explained.findings}
    assert by_code["stale_snr_table"].numbers["factor_at_900"] == pytest.approx(4.83, abs=0.005)
    at = by_code["kohya_debiased_v"].numbers
    assert [round(at[k], 3) for k in ("kohya_900", "paper_900", "kohya_999", "paper_999")] == [0.986, 0.054, 0.995, 0.0]
    assert "min_snr_gamma" in by_code["unknown_option"].action
    assert "999" in by_code["max_timestep_exclusive"].message
    assert {"weights_multiply", "perturbation_not_the_paper", "never_trained"} <= set(by_code)
    meant = explained.interpretation.as_meant
    assert write_recipe(meant) == (
        "v_prediction zero_terminal_snr min_snr:gamma=5 debiased perturbation=ip_noise:gamma=0.1 min_weight=0.01"
    )
    assert (meant.tables().weight[meant.tables().p > 0] > 0).all()


KOHYA = {
    "epsilon, Min-SNR": ({"min_snr_gamma": 5}, np.minimum(SNR, 5) / SNR),
    "epsilon, Debiased": ({"debiased_estimation_loss": True}, 1 / np.sqrt(np.minimum(SNR, 1000))),
    "epsilon, both": (
        {"min_snr_gamma": 5, "debiased_estimation_loss": True},
        np.minimum(SNR, 5) / SNR / np.sqrt(np.minimum(SNR, 1000)),
    ),
    "v, all": (
        {"v_parameterization": True, "min_snr_gamma": 5, "debiased_estimation_loss": True,
         "scale_v_pred_loss_like_noise_pred": True},
        np.minimum(SNR, 5) / (SNR + 1) / (CAPPED + 1) * CAPPED / (CAPPED + 1),
    ),
    "v, zero terminal, stale table": (
        {"v_parameterization": True, "zero_terminal_snr": True, "min_snr_gamma": 5},
        np.minimum(SNR, 5) / (SNR + 1),
    ),
    "gamma 0 is off": ({"min_snr_gamma": 0}, np.ones(1000)),
    "v-like": ({"v_pred_like_loss": 0.5}, 1 + 0.5 * (np.minimum(SNR, 1000) + 1) / np.minimum(SNR, 1000)),
}  # fmt: skip


@pytest.mark.parametrize("name", KOHYA)
def test_kohya_as_it_is(name, tmp_path):
    options, theirs = KOHYA[name]
    recipe = explain(toml(tmp_path, **options)).interpretation.as_is
    assert recipe.tables().weight == pytest.approx(theirs, rel=1e-9)


def test_kohya_as_meant_uses_the_rescaled_schedule(tmp_path):
    options = {"v_parameterization": True, "zero_terminal_snr": True, "min_snr_gamma": 5}
    meant = explain(toml(tmp_path, **options)).interpretation.as_meant
    snr = zero_terminal_snr(SCHEDULES.bind("sd")()).snr
    assert meant.tables().weight == pytest.approx(np.maximum(np.minimum(snr, 5) / (snr + 1), 0.01))


def test_what_is_right_is_left_alone(tmp_path):
    explained = explain(toml(tmp_path, min_snr_gamma=5, max_train_steps=100))
    assert explained.interpretation.changes == ()
    assert "1 other setting does not affect this" in explain_text.explanation_to_text(explained)
    assert not [f for f in explained.findings if f.grade != "info"]


@pytest.mark.parametrize("name", list(RUN))
def test_no_known_option_is_called_unknown(name, tmp_path):
    option = RUN[name]
    value = {"flag": True, "int": 1, "float": 0.5}.get(option.type, "x")
    if name in ("scale_v_pred_loss_like_noise_pred", "zero_terminal_snr"):
        explained = explain(toml(tmp_path, v_parameterization=True, **{name: value}))
    elif option.type in ("str list", "float list"):
        explained = explain(toml(tmp_path, **{name: ["a=1"]}))
    else:
        explained = explain(toml(tmp_path, **{name: value}))
    assert "unknown_option" not in codes(explained)


def test_a_real_settings_file():
    explained = explain(FILES / "kohya_ss-sdxl-prodigy.json")
    assert write_recipe(explained.interpretation.as_is) == "min_snr:gamma=5 sampling=plain"
    assert explained.interpretation.changes == ()


def test_a_recipe_is_explained_by_its_name(tmp_path):
    explained = explain("minsnr")
    assert explained.interpretation.as_is == parse_recipe("min_snr")[1]
    assert "minsnr is min_snr" in explained.settings.assumption
    done = tiny.snrlab("explain", "min_snr", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "of the training goes to almost pure noise" in done.stdout.splitlines()[0]


STATISTICS = re.compile(r"wasserstein|total variation|\bnats\b|effective sample size|gradient energy", re.IGNORECASE)


def test_statistics_are_details(tmp_path):
    file = toml(tmp_path, min_snr_gamma=5, debiased_estimation_loss=True)
    brief, detailed = (tiny.snrlab("explain", file, *extra).stdout for extra in ((), ("--details",)))
    assert not STATISTICS.search(brief)
    assert STATISTICS.search(detailed)
    (hint,) = set(brief.splitlines()) - set(detailed.splitlines())
    assert "--details" in hint


def test_every_stage_is_explained(tmp_path):
    file = tmp_path / "run.toml"
    recipe = '[recipe]\nsampling = "importance"\n[[recipe.stages]]\nfrom_step = 3\nweighting = ["debiased"]\n'
    file.write_text(f'[model]\nshipped = "small"\n[data]\nshipped = "ink"\n{recipe}')
    explained = explain(file)
    ((start, later),) = explained.later
    assert start == 3
    assert explained.as_is.mean_weight == pytest.approx(1)
    assert later.mean_weight > 2
    text = explain_text.explanation_to_text(explained)
    assert "sampling importance; from step 3 weighting debiased" in text
    assert "from step 3" in text
    assert "from step 3: the weights average 3.02" in text
    assert "emphasis stay those of the density" in text


def test_easy_scripts(tmp_path):
    file = tmp_path / "easy.toml"
    file.write_text(
        '[[subsets]]\nimage_dir = "x"\n[train_mode]\ntrain_mode = "lora"\n[optimizer_args.args]\nmin_snr_gamma = 8\n'
        "[network_args.args]\nip_noise_gamma = 0.05\n[network_args.args.network_args]\nconv_dim = 4\n"
    )
    explained = explain(file)
    assert "LoRA_Easy" in explained.settings.kind
    assert (
        write_recipe(explained.interpretation.as_is)
        == "min_snr:gamma=8 perturbation=ip_noise:gamma=0.05 sampling=plain"
    )


ONETRAINER = {
    "MIN_SNR_GAMMA": (np.minimum(SNR, 5) / SNR, np.minimum(SNR, 5) / (SNR + 1)),
    "DEBIASED_ESTIMATION": (np.minimum(SNR, 1000) ** -0.5, (np.minimum(SNR, 1000) + 1) ** -0.5),
    "P2": ((1 + SNR) ** -5.0, (2 + SNR) ** -5.0),
    "CONSTANT": (np.ones(1000), np.ones(1000)),
}


@pytest.mark.parametrize("v", [False, True])
@pytest.mark.parametrize("name", ONETRAINER)
def test_onetrainer_as_it_is(name, v, tmp_path):
    if name == "P2":
        options = {"loss_weight_fn": name, "loss_weight_strength": 4.0, "force_v_prediction": v}
        theirs = (1 + SNR + v) ** -4.0
    else:
        options = {"loss_weight_fn": name, "force_v_prediction": v}
        theirs = ONETRAINER[name][v]
    explained = explain(onetrainer(tmp_path, **options))
    assert explained.interpretation.as_is.tables().weight == pytest.approx(theirs, rel=1e-9)
    wrong = v and name in ("DEBIASED_ESTIMATION", "P2")
    assert bool(explained.interpretation.changes) == wrong
    assert ("onetrainer_v_weight" in codes(explained)) == wrong


def test_onetrainer_perturbs_its_target_too(tmp_path):
    explained = explain(onetrainer(tmp_path, perturbation_noise_weight=0.1))
    assert "perturbation_in_the_target" in codes(explained)
    assert explained.interpretation.as_is.perturbation is None
    assert explained.interpretation.as_meant.perturbation.spec == "ip_noise:gamma=0.1"


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_onetrainer_densities(kind, shift, tmp_path):
    """Against draws made the way the program makes them."""
    weight, bias = {"HEAVY_TAIL": (0.5, 0.0), "BETA": (0.6, 2.5)}.get(kind, (1.0, 0.2))
    options = {"timestep_distribution": kind, "timestep_shift": shift, "noising_weight": weight, "noising_bias": bias}
    p = explain(onetrainer(tmp_path, **options)).interpretation.as_is.tables().p
    rng = np.random.default_rng(0)
    u, n = rng.random(400_000), 1000
    if kind in ("COS_MAP", "SIGMOID", "INVERTED_PARABOLA"):
        x = np.linspace(0, 1, n)
        y = x / (shift - shift * x + x)
        slope = shift / (shift + x - x * shift) ** 2
        w = {
            "COS_MAP": 2 / (np.pi - 2 * np.pi * y + 2 * np.pi * y**2),
            "SIGMOID": 1 / (1 + np.exp(-weight * (y / (shift - shift * y + y) - (bias + 0.5)))),
            "INVERTED_PARABOLA": np.maximum(-weight * (y - (bias + 0.5)) ** 2 + 2, 0),
        }[kind] * slope
        t = np.searchsorted(np.cumsum(w / w.sum()), u)
    else:
        t = {
            "UNIFORM": lambda: u,
            "LOGIT_NORMAL": lambda: 1 / (1 + np.exp(-rng.normal(bias, weight + 1, len(u)))),
            "HEAVY_TAIL": lambda: 1 - u - weight * (np.cos(np.pi / 2 * u) ** 2 - 1 + u),
            "BETA": lambda: rng.beta(weight, bias, len(u)),
        }[kind]() * n
        t = (n * shift * t / ((shift - 1) * t + n)).astype(int)
    seen = np.bincount(np.minimum(t, n - 1), minlength=n) / len(u)
    coarse = [values.reshape(20, 50).sum(1) for values in (p, seen)]
    assert coarse[0] == pytest.approx(coarse[1], abs=0.003)
    again = explain(onetrainer(tmp_path, **options_of(density(options)))).interpretation.as_is.tables().p
    assert np.array_equal(again, p)


def test_a_distribution_has_a_name_and_not_a_thousand_points(tmp_path):
    """A curve through every step took the place of a name once: 22,000 characters on one line."""
    drawn = {"timestep_distribution": "SIGMOID", "noising_weight": 8.0}
    explained = explain(onetrainer(tmp_path, **drawn))
    assert max(map(len, explain_text.explanation_to_text(explained).splitlines())) < 1000
    with pytest.raises(UserError, match=r"noising_weight is 3\.0; it must be a number >= -1 and <= 1\.75"):
        explain(onetrainer(tmp_path, timestep_distribution="HEAVY_TAIL", noising_weight=3.0))


@pytest.mark.parametrize("source", ["kohya", "onetrainer", "snrlab"])
def test_a_loss_that_is_no_squared_error_is_said(source, tmp_path):
    run = tmp_path / "run.toml"
    run.write_text('[model]\nshipped = "small"\n[data]\nshipped = "noto"\n[train]\nloss = "huber"\n', encoding="utf-8")
    other, plain = {
        "kohya": (toml(tmp_path, "kohya.toml", loss_type="huber"), toml(tmp_path, "l2.toml", loss_type="l2")),
        "onetrainer": (onetrainer(tmp_path, huber_strength=0.5), FILES / "onetrainer-sdxl-lora.json"),
        "snrlab": (run, FILES.parents[2] / "configs" / "lora.toml"),
    }[source]
    assert "other_loss" in codes(explain(other))
    assert "other_loss" not in codes(explain(plain))


def test_a_finished_lora(tmp_path):
    metadata = {"ss_min_snr_gamma": "5.0", "ss_debiased_estimation": "True", "ss_ip_noise_gamma": "None",
                "ss_zero_terminal_snr": "False", "modelspec.prediction_type": "v"}  # fmt: skip
    explained = explain(lora(tmp_path, metadata))
    assert explained.interpretation.as_is.prediction_type == "v_prediction"
    assert [c.name for c in explained.interpretation.as_is.weighting] == ["min_snr", "kohya_debiased_v"]
    message = next(f.message for f in explained.findings if f.code == "not_recorded")
    assert "max_timestep" in message
    assert "v_parameterization" not in message


def test_a_lora_of_onetrainer(tmp_path):
    config = json.dumps({"model_type": "STABLE_DIFFUSION_15", "loss_weight_fn": "DEBIASED_ESTIMATION"})
    explained = explain(lora(tmp_path, {"ot_config": config}))
    assert [c.spec for c in explained.interpretation.as_is.weighting] == ["debiased:max_snr=1000"]


def test_our_own_lora_run_and_run_file(tmp_path):
    recipe = parse_recipe("v_prediction zero_terminal_snr min_snr:gamma=3 min_weight=0.05 ip_noise")[1]
    explained = explain(lora(tmp_path, {"snrlab.recipe": json.dumps(recipe.as_dict())}))
    assert explained.interpretation.as_is == recipe
    run = tmp_path / "run"
    run.mkdir()
    text = '[model]\nshipped = "small"\n[data]\nshipped = "ink"\nresolution = 64\n[recipe]\nweighting = ["p2"]\n'
    (run / "run.toml").write_text(text)
    for source in (run, run / "run.toml"):
        assert [c.name for c in explain(source).interpretation.as_is.weighting] == ["p2"]


@pytest.mark.parametrize("field", ["text", "md", "html", "json"])
def test_formats_say_the_same(field, tmp_path):
    done = tiny.snrlab("explain", FILES / "everything.toml", "--format", field)
    assert done.returncode == 0, done.stderr
    for word in ("min_snr_gama", "4.83", "0.986", "0.054", "min_weight 0.01"):
        assert word in done.stdout
    if field == "json":
        data = json.loads(done.stdout)
        for share in data["effort_as_is"]["fifths"].values():
            assert sum(share) == pytest.approx(1)
        assert sum(zone["share"] for zone in data["verdict"]["zones"]) == pytest.approx(1)
    if field == "html":
        assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", done.stdout)
        assert done.stdout.count("<table>") == done.stdout.count('<div class="sideways"><table><tr>') == 1
        assert done.stdout.index('class="lead"') < done.stdout.index("<table>")


def test_it_needs_no_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path;"
        "from snrlab.core.registries.registry import load_plugins; load_plugins();"
        f"from snrlab.lab.explain import explain; explain(Path({str(FILES / 'everything.toml')!r}));"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


MISTAKES = {
    "README.md": (b"# a page", "README.md is not a settings file. Name a training TOML or JSON"),
    "nothing.toml": (None, "there is no file"),
    "bytes.toml": (b"\xff\xfe\x00", "not UTF-8"),
    "broken.toml": (b"a = ", "not valid TOML"),
    "other.toml": (b'title = "x"', "none of the options of a trainer that is known"),
    "dataset.toml": (b"[[datasets]]\nresolution = 512", "dataset TOML"),
    "bomb.json": (b"[" * 200_000, "not valid JSON"),
    "list.json": (b"[]", "a JSON list. Name a file of training settings"),
    "concepts.json": (b'[{"path": "x", "image": {}, "text": {}}]', "OneTrainer's list of concepts"),
    "samples.json": (b'[{"prompt": "x"}]', "OneTrainer's list of samples"),
    "meta_lat.json": (b'{"a.png": {"caption": "x", "train_resolution": [8, 8]}}', "kohya's metadata of images"),
    "config.toml": (b"[server]\n[folders]\noutput_dir = 'x'\n[basic]\nseed = 1", "configuration of kohya_ss' window"),
    "lycoris.toml": (b"enable_conv = true\nunet_target_module = ['x']", "a preset of LyCORIS"),
    "prompts.toml": (b"[[prompts]]\nprompt = 'x'", "a list of prompts"),
    "other.json": (b'{"a": 1}', "neither a settings file"),
    "type.toml": (b'min_snr_gamma = "five"', "it must be a number"),
    "flag.toml": (b'zero_terminal_snr = "yes"', "it must be true or false"),
    "scale.toml": (b"scale_v_pred_loss_like_noise_pred = true", "needs v_parameterization"),
    "range.toml": (b"min_snr_gamma = 5\nmin_timestep = 700\nmax_timestep = 300", "must be 0 <= min < max"),
    "x.ckpt": (b"PK", "is a pickle"),
    "long.safetensors": (struct.pack("<Q", 10 * 2**30) + b"{}", "not a safetensors file"),
    "zip.safetensors": (b"PK\x03\x04" + b"\0" * 100, "not a safetensors file"),
    "short.safetensors": (b"\1", "not a safetensors file"),
    "bare.safetensors": (struct.pack("<Q", 2) + b"{}", "says nothing of how it was trained"),
    "flux.json": (b'{"training_method": "LORA", "model_type": "FLUX_DEV_1"}', "only Stable Diffusion 1.5, 2 and SDXL"),
    "window.json": (b'{"LoRA_type": "Standard", "sd3_checkbox": true, "min_snr_gamma": 5}', "for Stable Diffusion 3"),
    "flux.toml": (b'network_module = "networks.lora_flux"', "is networks.lora_flux, so this is for Flux"),
    "template.toml": (b'[metadata]\nname = "x"\ntrain_type = "sd3-lora"\n[data]\n', "for Stable Diffusion 3"),
    "lumina.toml": (b'gemma2 = "g.safetensors"\nlearning_rate = 1e-4', "so this is for Lumina"),
    "lllite.toml": (b"cond_emb_dim = 32\nlearning_rate = 1e-4", "so this is for ControlNet-LLLite"),
    "weight.json": (b'{"training_method": "LORA", "loss_weight_fn": "MIN_SNR"}', "Did you mean 'MIN_SNR_GAMMA'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name, tmp_path):
    content, message = MISTAKES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(message)):
        explain(tmp_path / name)


def test_loops_and_pipes(tmp_path):
    (tmp_path / "a.toml").symlink_to(tmp_path / "b.toml")
    (tmp_path / "b.toml").symlink_to(tmp_path / "a.toml")
    with pytest.raises(UserError):
        explain(tmp_path / "a.toml")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.toml")
        with pytest.raises(UserError, match="not an ordinary file"):
            explain(tmp_path / "pipe.toml")


def message_of(action, file):
    """None where the action succeeds, else the message; anything but a UserError fails the test."""
    try:
        action(file)
    except UserError as mistake:
        return str(mistake)
    return None


@given(data=st.binary(max_size=300), suffix=st.sampled_from([".toml", ".json", ".safetensors"]))
def test_any_bytes_end_in_an_explanation_or_a_message(data, suffix, tmp_path_factory):
    file = tmp_path_factory.mktemp("fuzz") / f"file{suffix}"
    file.write_bytes(data)
    assert message_of(explain, file) != ""


FACTS = st.dictionaries(st.sampled_from(["dtype", "shape"]), st.text(max_size=3))
VALUES = st.one_of(st.none(), st.integers(), st.text(max_size=8), st.lists(st.integers(), max_size=3), FACTS)


@given(header=st.dictionaries(st.text(max_size=8), VALUES))
def test_any_header_ends_in_a_list_or_a_message(header, tmp_path_factory):
    text = json.dumps(header).encode()
    file = tmp_path_factory.mktemp("fuzz") / "file.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    assert message_of(read_header, file) != ""


@given(
    options=st.fixed_dictionaries(
        {},
        optional={
            "min_snr_gamma": st.sampled_from([0, 1, 5.0, 20]),
            "debiased_estimation_loss": st.booleans(),
            "zero_terminal_snr": st.booleans(),
            "v_parameterization": st.booleans(),
            "ip_noise_gamma": st.sampled_from([0, 0.05, 0.1]),
            "ip_noise_gamma_random_strength": st.booleans(),
            "noise_offset": st.sampled_from([0, 0.05]),
            "min_timestep": st.integers(0, 500),
            "max_timestep": st.integers(501, 1000),
        },
    )
)
def test_any_recipe_of_kohya_is_explained_and_can_be_written_down(options, tmp_path_factory):
    explained = explain(toml(tmp_path_factory.mktemp("kohya"), pretrained_model_name_or_path="m", **options))
    assert explain_text.explanation_to_text(explained)
    assert json.dumps(explanation_as_data(explained))
    for recipe in (explained.interpretation.as_is, explained.interpretation.as_meant):
        assert parse_recipe(write_recipe(recipe))[1] == recipe
