import tomllib

import pytest
from annotated_types import Gt, Le

from drawing import temporary_entries
from snrlab import WEIGHTINGS, UserError
from snrlab.config import RunConfig, apply_overrides, dump, parse_run, read_run
from snrlab.core.recipe import Recipe

SMALL = {"model": {"random": "small"}, "data": {"shipped": "noto", "resolution": 64}}


def with_recipe(**recipe):
    return parse_run({**SMALL, "recipe": recipe})


def test_dump_round_trips():
    config = with_recipe(
        schedule="sd",
        weighting=["min_snr:gamma=3", {"name": "curve", "points": "-5/0.2;0/1"}],
        perturbation={"name": "ip_noise_random", "gamma": 0.2, "per": "batch"},
        density="laplace:mean=1",
        noise={"name": "offset"},
        max_weight=3,
    )
    assert parse_run(tomllib.loads(dump(config))) == config


def test_a_strategy_is_a_table_or_text():
    assert with_recipe(weighting=["min_snr:gamma=5"]) == with_recipe(weighting=[{"name": "min_snr", "gamma": 5}])


def test_every_field_is_described_and_in_the_schema():
    schema = RunConfig.model_json_schema()
    for section in schema["$defs"].values():
        for name, field in section["properties"].items():
            assert field.get("description", "").endswith("."), name


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"modell": {}}, "Did you mean 'model'"),
        ({"train": {"batchsize": 4}}, "train.batchsize: 'batchsize' is not known. Did you mean 'batch_size'"),
        ({"train": {"steps": "10"}}, "train.steps is '10'"),
        ({"train": {"steps": 0}}, "train.steps is 0"),
        ({"train": {"method": "lokr"}}, "train.method is 'lokr'; allowed: 'lora' or 'full'"),
        ({"train": {"steps": 10, "warmup": 10}}, "warmup is 10 steps"),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate"),
        ({"recipe": {"weighting": "min_snrr"}}, "Did you mean 'min_snr'"),
        ({"recipe": {"weighting": [{"name": "min_snr", "gama": 5}]}}, "'gama' is not known. Did you mean 'gamma'"),
        ({"recipe": {"weighting": [{"name": "min_snr", "gamma": 0}]}}, "gamma is 0"),
        ({"recipe": {"weighting": [{"gamma": 5}]}}, "write a table such as"),
        ({"recipe": {"density": "uniform:min_timestep=1.5"}}, "min_timestep is 1.5; it must be a whole number"),
        ({"recipe": {"noise": "ofset"}}, "Did you mean 'offset'"),
        ({"model": {"random": "small", "path": "x"}}, "give one of"),
        ({"data": {"resolution": 60, "shipped": "noto"}}, "multiple of 8"),
        ({"train": {"method": "full"}, "lora": {"rank": 4}}, "[lora] is set"),
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_mistakes_are_named(data, message):
    with pytest.raises(UserError) as mistake:
        parse_run({**SMALL, **data})
    assert message in str(mistake.value)


def test_all_mistakes_at_once():
    with pytest.raises(UserError) as mistake:
        parse_run({"train": {"steps": 0, "batch": 1}, "model": {}})
    assert len(str(mistake.value).splitlines()) == 4


def test_overrides():
    data = apply_overrides({"train": {"steps": 5}}, ["train.steps=7", 'recipe.weighting=["min_snr"]', "name=x-1"])
    assert data == {"train": {"steps": 7}, "recipe": {"weighting": ["min_snr"]}, "name": "x-1"}
    for wrong in ("train.steps", "=3", "train.steps.more=1"):
        with pytest.raises(UserError, match="--set"):
            apply_overrides({"train": {"steps": 5}}, [wrong])


def test_relative_folders_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text('[model]\npath = "m"\n[data]\nfolder = "d"\n')
    config = read_run(tmp_path / "run.toml")
    assert config.model.path == str(tmp_path / "m")
    assert config.data.folder == str(tmp_path / "d")


def test_a_curve_file_is_inlined(tmp_path):
    (tmp_path / "curve.csv").write_text("log_snr,weight\n0,1\n-5,0.5\n")
    config = with_recipe(weighting=[{"name": "curve", "points": f"@{tmp_path / 'curve.csv'}"}])
    assert config.recipe.weighting[0].params["points"] == "-5/0.5;0/1"
    for wrong in ("@nothing.csv", "1;2", "0/x", "0/1;0/2", "0/-1", ""):
        with pytest.raises(UserError, match="curve"):
            with_recipe(weighting=[{"name": "curve", "points": wrong}])


def test_a_weighting_registered_at_run_time_is_everywhere():
    """One function is all it takes: schema, run file, command line text and tables know it."""
    from typing import Annotated

    with temporary_entries(WEIGHTINGS):

        @WEIGHTINGS.register(paper="none", name="twice_plain")
        def twice_plain(log_snr, *, factor: Annotated[float, Gt(0), Le(10)] = 2.0):
            """w_x0 = factor S: for this test."""
            import numpy as np

            return factor * np.exp(log_snr)

        assert "twice_plain" in str(RunConfig.model_json_schema())
        config = with_recipe(weighting=["twice_plain:factor=3"])
        tables = Recipe(weighting=tuple(config.recipe.weighting)).tables()
        assert tables.weight == pytest.approx(3)
        from snrlab.cli.analysis.table import table_command

        table_command(weighting=["twice_plain"], at="0")
        with pytest.raises(UserError, match="factor is 11"):
            WEIGHTINGS.parse("twice_plain:factor=11")
    assert "twice_plain" not in str(RunConfig.model_json_schema())


def test_another_optimizer_by_its_name_keeps_the_settings():
    data = {"train": {"optimizer": {"name": "adamw8bit", "beta2": 0.99, "weight_decay": 0.1}}}
    optimizer = apply_overrides(data, ["train.optimizer.name=adamw"])["train"]["optimizer"]
    assert optimizer == {"name": "adamw", "beta2": 0.99, "weight_decay": 0.1}
