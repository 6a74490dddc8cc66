"""[train]: what may be said together, older spellings, and messages that say what to do."""

import re

import pytest

from snrlab import UserError
from snrlab.config import apply_overrides, dump, parse_run
from snrlab.config.sections.train import TrainConfig
from snrlab.core.lr_schedules import LR_SCHEDULES, read_rules
from snrlab.installation import install_command
from snrlab.train.optim.by_class import read_optimizer_arguments
from snrlab.train.optim.rate_factor import rate_factor
from snrlab.train.optim.registry import custom


def run(**train):
    return {"model": {"random": "small"}, "data": {"shipped": "noto"}, "train": train}


MISTAKES = [
    ({"epochs": 2, "steps": 10}, "give either steps or epochs"),
    ({"steps": 10, "warmup": 10}, "warmup is 10 steps; it must be below steps, 10"),
    ({"steps": 10, "warmup": 1.5}, "1.5 is no warm-up; write whole steps"),
    ({"warmup": "ten"}, "'ten' is no warm-up"),
    ({"warmup": "100%"}, "'100%' is no warm-up"),
    ({"warmup": -1}, "-1 is no warm-up"),
    ({"warmup": 3, "warmup_steps": 3}, "warmup_steps is the older name of warmup"),
    ({"beta1": 0.8, "optimizer": "adamw"}, 'write optimizer = { name = "adamw", beta1 = 0.8 }'),
    ({"lr_schedule": "adafactor"}, "ignores learning_rate and every schedule"),
    ({"lr_schedule": "adafactor:4e-7"}, "ignores learning_rate and every schedule"),
    ({"lr_schedule": "cosin"}, "Did you mean 'cosine'"),
    ({"lr_schedule": {"name": "piecewise_constant", "rules": "1:20,0.1:10,0.01"}}, "the steps must rise"),
    ({"lr_schedule": {"name": "piecewise_constant", "rules": "1:20"}}, "write factor:step pairs"),
    ({"optimizer": "adam"}, "Did you mean 'adamw'"),
    ({"optimizer": {"name": "adamw", "weight_dcay": 0.9}}, "Did you mean 'weight_decay'"),
    ({"optimizer": "prodigy"}, "set learning_rate = 1.0"),
    (
        {"optimizer": "prodigy", "learning_rate": 1.0, "text_encoder": True, "text_encoder_learning_rate": 0.5},
        "several: unet_learning_rate = 1, text_encoder_learning_rate = 0.5. Leave them out.",
    ),
    ({"optimizer": "schedule_free"}, 'set lr_schedule = "constant"'),
    ({"optimizer": "schedule_free", "lr_schedule": "constant", "ema": 0.9}, "averages the weights already"),
    ({"optimizer": {"name": "custom", "path": "SGD"}}, "write module:Class, such as torch.optim:SGD"),
    ({"optimizer": {"name": "custom", "path": "a:B", "args": "0.9"}}, "write name=value"),
    ({"fused_backward": True}, "set max_grad_norm = 0"),
    ({"fused_backward": True, "max_grad_norm": 0.0, "gradient_accumulation": 2}, "set gradient_accumulation = 1"),
    ({"fused_backward": True, "max_grad_norm": 0.0, "optimizer": "prodigy", "learning_rate": 1.0}, "one by one"),
    ({"weights": "bf16"}, 'is for method = "full"'),
    ({"weights": "bf16", "method": "full", "ema": 0.9}, "ema would average weights that are rounded"),
    ({"weights": "bf16", "method": "full", "optimizer": {"name": "custom", "path": "torch.optim:SGD"}}, "one by one"),
    ({"weights": "bf16", "method": "full"}, 'set model.precision = "bf16"'),
    ({"loss": "hubr"}, "Did you mean 'huber'"),
    ({"loss": {"name": "huber", "c": 1.5}}, "it must be a number > 0 and < 1"),
]


@pytest.mark.parametrize(("train", "message"), MISTAKES)
def test_mistakes_are_met_with_what_to_do(train, message):
    with pytest.raises(UserError) as error:
        parse_run(run(**train))
    assert message in str(error.value)


def test_updates_in_the_backward_pass_do_not_go_with_fp16():
    """There the loss is scaled: updates would be of scaled gradients, and of those that overflow too."""
    fused = run(fused_backward=True, max_grad_norm=0.0, method="full", optimizer="adafactor")
    with pytest.raises(UserError, match=r'fused_backward .* set model\.precision = "bf16"'):
        parse_run({**fused, "model": {**fused["model"], "precision": "fp16"}})
    assert parse_run({**fused, "model": {**fused["model"], "precision": "bf16"}}).train.fused_backward


def test_older_files_mean_the_same():
    old = parse_run(run(beta1=0.8, beta2=0.99, weight_decay=0.1, warmup_steps=20, lr_schedule="cosine")).train
    new = parse_run(run(optimizer={"name": "adamw", "beta1": 0.8, "beta2": 0.99, "weight_decay": 0.1}, warmup=20)).train
    assert old == new
    assert old.warmup_steps == 20


@pytest.mark.parametrize("stated", ["constant_with_warmup", {"name": "constant_with_warmup"}])
def test_a_schedule_that_had_two_names(stated):
    """Run folders of before hold the second one."""
    old = parse_run(run(lr_schedule=stated, warmup=5))
    assert old == parse_run(run(lr_schedule="constant", warmup=5))
    assert 'lr_schedule = {name = "constant"}' in dump(old)


@pytest.mark.parametrize(
    "train",
    [{}, {"optimizer": "schedule_free", "lr_schedule": "constant"}, {"warmup": "5%", "loss": "huber"}, {"warmup": 0.1}],
)
def test_what_is_written_reads_back(train):
    import tomllib

    config = parse_run(run(**train))
    assert parse_run(tomllib.loads(dump(config))) == config


def test_the_command_line_can_say_it():
    settings = ["train.warmup=10%", "train.optimizer=adafactor:weight_decay=0.1", "train.loss=huber:c=0.2"]
    train = parse_run(apply_overrides(run(), settings)).train
    assert train.warmup_steps == 100
    assert train.optimizer.params["weight_decay"] == 0.1
    assert train.loss.params["c"] == 0.2


@pytest.mark.parametrize(("warmup", "steps", "expected"), [("10%", 35, 3), (0.29, 100, 29), (7, 100, 7), (0.0, 9, 0)])
def test_warm_up_in_steps(warmup, steps, expected):
    assert TrainConfig(warmup=warmup, steps=steps).warmup_steps == expected


def test_epochs_become_steps():
    train = TrainConfig(epochs=10, batch_size=4, gradient_accumulation=2, warmup="10%")
    resolved = train.in_steps(20)
    assert (resolved.steps, resolved.epochs, resolved.warmup_steps) == (25, None, 2)
    assert rate_factor(resolved, 24) < 0.02, "the schedule is over all of them"
    with pytest.raises(UserError, match="warmup is 30 steps"):
        TrainConfig(epochs=1, warmup=30).in_steps(20)


def test_a_scale_that_would_be_ignored_is_an_error(tiny_model, pictures):
    import tiny
    from snrlab.train.job import prepare

    config = tiny.run_config(tiny_model, pictures, train={"loss": {"name": "huber", "scale": 2.0}})
    with pytest.raises(UserError, match='scale is 2, but c_schedule = "snr" has none'):
        prepare(config)


@pytest.mark.parametrize(
    ("path", "args", "message"),
    [
        ("no_such_module:X", "", "the module does not load"),
        ("torch.optim:NoSuch", "", "torch.optim has no NoSuch"),
        ("torch.optim:SGD", "nesterof=True", "does not take args"),
        ("torch.optim:SGD", "momentum=-1.0", "does not take args"),
        ("collections:OrderedDict", "", "is not a torch optimizer"),
    ],
)
def test_a_class_that_cannot_be_used(path, args, message):
    import torch

    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.1}]
    with pytest.raises(UserError, match=message):
        custom(groups, path=path, args=args)


def test_arguments_are_literals_and_nothing_is_run():
    assert read_optimizer_arguments("a=1, b=(0.9, 0.99), c=None, d='x'") == {
        "a": 1,
        "b": (0.9, 0.99),
        "c": None,
        "d": "x",
    }
    for text in ("a=__import__('os').getcwd()", "a=b", "**{}", "a=1; b=2", ")("):
        with pytest.raises(UserError):
            read_optimizer_arguments(text)


def test_a_missing_package_is_said_before_the_model_is_loaded(tmp_path):
    import importlib.util

    from snrlab.train.job import prepare

    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("it is installed")
    config = parse_run(run(optimizer="adamw8bit"))
    with pytest.raises(
        UserError,
        match=f"adamw8bit needs .* bitsandbytes, which is not installed.*{re.escape(install_command('bitsandbytes'))}",
    ):
        prepare(config)


def test_rules_of_a_rate():
    assert read_rules("1:10,0.5") == ([(10, 1.0)], 0.5)
    with pytest.raises(UserError, match="between 0 and 1"):
        read_rules("2:10,0.5")
    assert LR_SCHEDULES.bind("piecewise_constant", rules="0.3")(5, 0, 10) == 0.3
