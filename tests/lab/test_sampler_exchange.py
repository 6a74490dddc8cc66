"""Samplers of kohya's and OneTrainer's files: imported by our names, exported by theirs, or reported by name."""

import json
import tomllib

import pytest

from snrlab.config import parse_run
from snrlab.core.registries.samplers import SAMPLERS
from snrlab.peers.exporting import export_settings
from snrlab.peers.importing import import_source

RUN = {"model": {"path": "m"}, "data": {"folder": "d"}}


def imported_from_kohya(folder, **options):
    base = {"pretrained_model_name_or_path": "m", "train_data_dir": "d", "network_module": "networks.lora", **options}
    file = folder / "settings.toml"
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in base.items()), encoding="utf-8")
    written = import_source(file).written
    return parse_run(tomllib.loads(written.text)).sample, written


def imported_from_onetrainer(folder, sampler):
    sample = {"prompt": "a cat", "noise_scheduler": sampler}
    file = folder / "settings.json"
    file.write_text(json.dumps({"training_method": "LORA", "base_model_name": "m", "samples": [sample]}))
    written = import_source(file).written
    return tomllib.loads(written.text)["sample"]["prompts"], written


def reasons(dropped):
    return " ".join(f"{item.option}: {item.reason}" for item in dropped)


@pytest.mark.parametrize(
    ("kohya", "ours"), [(name, sampler.name) for sampler in SAMPLERS.values() for name in sampler.kohya]
)
def test_kohyas_sampler_is_carried_and_comes_back(kohya, ours, tmp_path):
    sample, _ = imported_from_kohya(tmp_path, sample_prompts=f"a cat --ss {kohya} --s 3", sample_sampler=kohya)
    assert sample.sampler == ours
    assert sample.samplers == (ours,)
    back = export_settings(parse_run({**RUN, "sample": sample.model_dump(exclude_none=True)}), "kohya")
    written = back.options.get("sample_sampler", "ddim")
    assert written in SAMPLERS[ours].kohya
    assert back.prompts == (f"a cat --ss {written} --s 3",)


def test_kohyas_sampler_without_a_counterpart_is_reported(tmp_path):
    sample, written = imported_from_kohya(
        tmp_path, sample_prompts="a cat --ss k_lms --s 3\nb --ss euler", sample_sampler="dpmsolver"
    )
    assert sample.sampler == "ddim"
    assert sample.prompts == ["a cat --s 3", "b --ss euler"]
    text = reasons(written.dropped)
    assert "'dpmsolver' is a sampler of another program" in text
    assert "--ss k_lms: 'k_lms' is a sampler of another program" in text


def test_a_sampler_without_pictures_is_reported(tmp_path):
    _, written = imported_from_kohya(tmp_path, sample_sampler="euler_a")
    assert 'sample_sampler = "euler_a": there are no prompts' in reasons(written.dropped)


@pytest.mark.parametrize(("theirs", "ours"), [(s.onetrainer, s.name) for s in SAMPLERS.values() if s.onetrainer])
def test_onetrainers_sampler_is_carried_and_comes_back(theirs, ours, tmp_path):
    prompts, _ = imported_from_onetrainer(tmp_path, theirs)
    assert prompts == ["a cat" if ours == "ddim" else f"a cat --ss {ours}"]
    samples = export_settings(parse_run({**RUN, "sample": {"prompts": prompts}}), "onetrainer").options["samples"]
    assert samples[0].get("noise_scheduler", "DDIM") == theirs


def test_onetrainers_sampler_without_a_counterpart_is_reported(tmp_path):
    prompts, written = imported_from_onetrainer(tmp_path, "HEUN_OF_TOMORROW")
    assert prompts == ["a cat"]
    assert 'sample\'s noise_scheduler = "HEUN_OF_TOMORROW": there is no such sampler here' in reasons(written.dropped)


@pytest.mark.parametrize(("trainer", "program"), [("kohya", "kohya"), ("onetrainer", "OneTrainer")])
def test_a_sampler_that_the_trainer_does_not_have_is_reported(trainer, program):
    run = parse_run({**RUN, "sample": {"prompts": ["a", "b --ss heun_karras"], "sampler": "dpmpp_sde"}})
    back = export_settings(run, trainer)
    text = reasons(back.dropped)
    assert f"{program} has no such sampler" in text
    assert "dpmpp_sde" in text
    assert "heun_karras" in text
    assert "heun" not in " ".join(back.prompts)
    assert "sample_sampler" not in back.options
