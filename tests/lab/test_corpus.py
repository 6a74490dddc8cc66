"""Settings as people have them: older files, whole files of a window, finished LoRAs; in the shapes that were found."""

import json
import tomllib

import pytest

import goldens
from snrlab.cli.analysis.inspection_text import grouped, inspection_blocks
from snrlab.config import parse_run
from snrlab.config.option_tables.kohya import RUN, closest_option
from snrlab.config.option_tables.onetrainer import flatten_options
from snrlab.core.errors import UserError
from snrlab.lab import explain_text
from snrlab.lab.blocks import to_text
from snrlab.lab.explain import explain
from snrlab.peers.exporting import export_settings, onetrainer_json
from snrlab.peers.importing import import_source
from snrlab.peers.onetrainer.versions import as_today

WINDOW = {"LoRA_type": "Standard", "train_batch_size": 1, "flux1_checkbox": False, "sd3_checkbox": False,
          "model_type": "flux", "t5xxl": "t5.safetensors", "hunyuan_vae": "", "anima_checkbox": False,
          "lumina_sigmoid_scale": 1.0, "sdxl_no_half_vae": True, "sdxl": False, "max_timestep": 1000,
          "max_resolution": "512,512"}  # fmt: skip
ONETRAINER = {"training_method": "LORA", "model_type": "STABLE_DIFFUSION_15"}


def window(folder, **options):
    file = folder / "settings.json"
    file.write_text(json.dumps({**WINDOW, **options}))
    return file


def toml(folder, **options):
    file = folder / "settings.toml"
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items()))
    return file


def onetrainer(folder, **options):
    file = folder / "config.json"
    file.write_text(json.dumps({**ONETRAINER, **options}))
    return file


def run_of(imported):
    return parse_run(tomllib.loads(imported.written.text))


def left(imported, name):
    """(severity, reason) of an option that has no place."""
    return next(
        (item.severity, item.reason) for item in imported.written.dropped if item.option.startswith(f"{name} =")
    )


# -- OneTrainer: the files of every age, as its own reader takes them ------------------------------------------------

OLD = {
    "0": ({"__version": 0, "optimizer": "PRODIGY", "optimizer_d_coef": 2.0, "train_unet": True, "train_unet_epochs": 40,
           "unet_learning_rate": 1e-4, "vae_model_name": "v", "min_snr_gamma": 3.0},
          {"optimizer.optimizer": "PRODIGY", "optimizer.d_coef": 2.0, "unet.train": True,
           "unet.stop_training_after": 40, "unet.stop_training_after_unit": "EPOCH", "unet.learning_rate": 1e-4,
           "vae.model_name": "v", "loss_weight_fn": "MIN_SNR_GAMMA", "loss_weight_strength": 3.0}),
    "3": ({"__version": 3, "noising_weight": 2.0, "noising_bias": 0.75, "gradient_checkpointing": False,
           "text_encoder": {"__version": 0, "train": True}},
          {"timestep_distribution": "SIGMOID", "noising_weight": 2.0, "noising_bias": 0.25,
           "unet.gradient_checkpointing": False, "text_encoder.gradient_checkpointing": False,
           "text_encoder.train": True}),
    "5": ({"__version": 5, "noising_weight": 2.0, "noising_bias": 0.75, "save_after": 2, "save_after_unit": "EPOCH",
           "gradient_checkpointing": "CPU_OFFLOADED", "layer_offload_fraction": 0.5, "weight_dtype": "FLOAT_16",
           "unet": {"weight_dtype": "NONE"}, "vae": {"weight_dtype": "FLOAT_32"}},
          {"noising_weight": 2.0, "noising_bias": 0.75, "save_every": 2, "save_every_unit": "EPOCH",
           "unet.weight_dtype": "FLOAT_16", "unet.gradient_checkpointing": True, "unet.activation_offloading": True,
           "unet.offload_fraction": 0.5, "vae.weight_dtype": "FLOAT_32", "vae.gradient_checkpointing": True,
           "vae.activation_offloading": True, "vae.offload_fraction": 0.5}),
    "7": ({"__version": 7, "lora_layers": "attn", "lora_layer_preset": "attn-only"},
          {"layer_filter": "attn", "layer_filter_preset": "attn-only"}),
    "today": ({"__version": 11, "noising_bias": 0.75, "unet": {"train": True}},
              {"noising_bias": 0.75, "unet.train": True}),
}  # fmt: skip


@pytest.mark.parametrize("age", OLD)
def test_older_files_of_onetrainer(age):
    """The right sides are what the program's own TrainConfig makes of the left ones."""
    old, today = OLD[age]
    fields, remarks = as_today(old)
    assert {name: value for name, value in flatten_options(fields).items() if name != "__version"} == today
    assert bool(remarks) == (age != "today")


def test_an_old_bias_is_explained_as_the_program_reads_it(tmp_path):
    old = explain(onetrainer(tmp_path, __version=3, noising_weight=4.0, noising_bias=0.75))
    new = explain(onetrainer(tmp_path, timestep_distribution="SIGMOID", noising_weight=4.0, noising_bias=0.25))
    assert old.interpretation.as_is == new.interpretation.as_is
    assert "noising_bias 0.75 is 0.25 today" in explain_text.explanation_to_text(old)


def test_onetrainer_can_read_what_is_exported(tmp_path):
    """Without __version it takes a file for its oldest kind; by itself it stops text encoders, and reads the filter."""
    run = parse_run({"model": {"path": "m"}, "data": {"folder": "images"}, "lora": {"layers": ["attention"]},
                 "output": {"every": 30}, "train": {"text_encoder": True, "epochs": 90, "warmup": 50,
                                                    "gradient_accumulation": 4}})  # fmt: skip
    back = export_settings(run, "onetrainer").options
    assert (back["__version"], back["concepts"][0]["__version"]) == (11, 2)
    assert back["text_encoder"]["stop_training_after_unit"] == "NEVER"
    assert (back["layer_filter"], back["layer_filter_preset"]) == ("attn", "attn-only")
    assert (back["learning_rate_warmup_steps"], back["save_every"]) == (200.0, 120)
    full = parse_run({"model": {"path": "m"}, "data": {"folder": "i"}, "train": {"method": "full"},
                  "output": {"format": "single_file"}})  # fmt: skip
    assert export_settings(full, "onetrainer").options["output_model_format"] == "ORIGINAL_SINGLE_FILE"
    file = tmp_path / "back.json"
    file.write_text(onetrainer_json(export_settings(run, "onetrainer")))
    again = run_of(import_source(file))
    assert (again.train.warmup, again.output.every, again.lora.layers) == (50, 30, ["attention"])


def test_where_onetrainer_stops_a_network(tmp_path):
    imported = import_source(onetrainer(tmp_path, epochs=100, text_encoder={"train": True}))
    assert "OneTrainer's default" in left(imported, "text_encoder.stop_training_after")[1]
    never = {"stop_training_after": 10000, "stop_training_after_unit": "EPOCH"}
    none = import_source(onetrainer(tmp_path, epochs=100, unet=never, text_encoder={"train": False}))
    assert left(none, "unet.stop_training_after")[0] == "harmless"


def test_onetrainer_follows_the_model_unless_it_is_forced(tmp_path):
    open_ = import_source(onetrainer(tmp_path, force_v_prediction=False, force_epsilon_prediction=False))
    assert run_of(open_).recipe.prediction_type is None
    assert "predicts what the model was made for" in open_.interpretation.effects[0]
    forced = import_source(onetrainer(tmp_path, force_v_prediction=True))
    assert run_of(forced).recipe.prediction_type == "v_prediction"
    assert 'prediction_type = "v_prediction"  # force_v_prediction = true' in forced.written.text


@pytest.mark.parametrize(("strength", "reported"), [(5.0, False), (3.0, True)])
def test_a_strength_that_nothing_reads_is_told_where_somebody_chose_it(strength, reported, tmp_path):
    findings = explain(onetrainer(tmp_path, loss_weight_strength=strength)).findings
    assert ("ignored_option" in {finding.code for finding in findings}) == reported


def test_onetrainers_average(tmp_path):
    imported = import_source(onetrainer(tmp_path, ema="GPU", ema_decay=0.99, ema_update_step_interval=4))
    assert run_of(imported).train.ema == pytest.approx(0.99 ** (1 / 4), abs=1e-6)


@pytest.mark.parametrize("kind", ["STABLE_DIFFUSION_15_INPAINTING", "STABLE_DIFFUSION_20_DEPTH"])
def test_models_with_more_channels_are_not_imported(kind, tmp_path):
    with pytest.raises(UserError, match="is not trained here; take the model it was made from"):
        import_source(onetrainer(tmp_path, model_type=kind))


def test_concepts_of_every_age(tmp_path):
    image = {"enable_crop_jitter": False}
    concepts = [{"path": "a", "repeats": 3.0, "image": image}, {"path": "b", "validation_concept": True},
                {"path": "c", "text": {"tag_dropout_enable": True, "tag_dropout_probability": 0.2}}]  # fmt: skip
    imported = import_source(onetrainer(tmp_path, concepts=concepts))
    first, second = run_of(imported).data.sets
    assert (first.repeats, first.random_crop, second.random_crop) == (3, None, True)
    assert second.tag_dropout is None
    assert "text.tag_dropout_mode" in " ".join(item.option for item in imported.written.dropped)


# -- kohya_ss: the file of its window, which keeps the fields of every model and every kind of LoRA -------------------


def test_fields_of_other_models_are_not_spoken_of(tmp_path):
    imported = import_source(window(tmp_path))
    assert not [item for item in imported.written.dropped if item.severity == "lost"]
    assert "hunyuan" not in imported.written.text
    assert not run_of(imported).train.text_encoder_2  # `sdxl` is off, whatever stands in its fields


def test_what_is_asked_is_what_differs(tmp_path):
    text = explain_text.explanation_to_text(explain(window(tmp_path, min_snr_gamma=5, noise_offset=0)))
    asked = text.partition("What was read")[2].partition("What kohya")[0]
    assert "  min_snr_gamma = 5\n" in asked
    assert "left at the default: max_timestep, noise_offset" in asked


TEXT = {
    "sd1": ({"learning_rate_te": 1e-5}, True),
    "xl": ({"sdxl": True, "learning_rate_te1": 1e-5, "learning_rate_te2": 0}, True),
    "xl, frozen": ({"sdxl": True, "learning_rate_te1": 0, "learning_rate_te2": 0}, False),
}


@pytest.mark.parametrize("name", TEXT)
def test_dreambooth_of_the_window_trains_text(name, tmp_path):
    """It has no switch for it: of SD 1.5 it is always so, of SDXL where there is a rate."""
    options, trained = TEXT[name]
    whole = {k: v for k, v in WINDOW.items() if k not in ("LoRA_type", "sdxl")}
    file = tmp_path / "db.json"
    stated = {"stop_text_encoder_training": 0, "pretrained_model_name_or_path": "m", "train_data_dir": "d"}
    file.write_text(json.dumps({**whole, "sdxl": False, **stated, **options}))
    run = run_of(import_source(file))
    assert (run.train.method, run.train.text_encoder, run.train.text_encoder_2) == ("full", trained, False)


def test_only_what_a_type_of_lora_uses_counts(tmp_path):
    shared = {"conv_dim": 8, "conv_alpha": 4, "factor": 6, "train_on_input": False, "network_dim": 16}
    plain = import_source(window(tmp_path, **shared))
    for name in ("conv_dim", "factor", "train_on_input"):
        assert left(plain, name) == ("harmless", "kohya_ss does not pass it on for this type of LoRA")
    assert run_of(plain).lora.conv_rank is None
    locon = import_source(window(tmp_path, **shared | {"LoRA_type": "LyCORIS/LoCon", "LyCORIS_preset": "attn-mlp"}))
    assert run_of(locon).lora.layers == ["attention", "feed_forward"]
    whole = import_source(window(tmp_path, **shared | {"LoRA_type": "LyCORIS/LoKr", "network_dim": 100000}))
    assert "asks LyCORIS for whole matrices" in left(whole, "network_dim")[1]
    assert left(whole, "network_args: factor")[0] == "lost"


def test_the_program_of_several_processes(tmp_path):
    imported = import_source(window(tmp_path, multi_gpu=True, num_processes=2))
    assert "train.batch_size for all together" in left(imported, "num_processes")[1]


# -- kohya's own files ------------------------------------------------------------------------------------------------


def test_two_kinds_of_noise(tmp_path):
    file = toml(tmp_path, network_module="networks.lora", noise_offset=0.03, multires_noise_iterations=6)
    assert explain(file).interpretation.as_is.noise.spec.startswith("offset_pyramid:strength=0.03")
    assert run_of(import_source(file)).recipe.noise == explain(file).interpretation.as_meant.noise


def test_what_adapts_a_noise_offset_needs_one(tmp_path):
    file = toml(tmp_path, network_module="networks.lora", adaptive_noise_scale=0.1, multires_noise_iterations=6)
    assert "needs_offset" in {finding.code for finding in explain(file).findings}
    assert "adaptive_noise_scale" not in next(x.origin for x in import_source(file).written.lines if "noise" in x.field)


def test_one_rate_for_an_optimizer_that_finds_it(tmp_path):
    file = toml(tmp_path, network_module="networks.lora", optimizer_type="Prodigy", learning_rate=1.0, unet_lr=1.0,
                text_encoder_lr=0.5)  # fmt: skip
    imported = import_source(file)
    assert run_of(imported).train.text_encoder_learning_rate is None
    assert "takes one rate for all networks" in left(imported, "text_encoder_lr")[1]


def test_rates_of_two_text_encoders(tmp_path):
    """kohya's networks.lora takes the first of them for both, and skips both where that is 0."""
    stated = {"network_module": "networks.lora", "text_encoder_lr": [1e-5, 2e-5], "unet_lr": 1e-4}
    file = toml(tmp_path, **stated)
    meant, as_is = (run_of(import_source(file, as_is=kept)).train for kept in (False, True))
    assert (meant.text_encoder_learning_rate, meant.text_encoder_2_learning_rate) == (1e-5, 2e-5)
    assert (as_is.text_encoder_learning_rate, as_is.text_encoder_2_learning_rate) == (1e-5, 1e-5)
    back = export_settings(run_of(import_source(file)), "kohya")
    assert back.options["text_encoder_lr"] == [1e-5]
    assert "takes one rate, the first" in next(x.reason for x in back.dropped if "text_encoder_2" in x.option)
    xl = parse_run(
        {"model": {"path": "sdxl"}, "data": {"folder": "i"}, "train": {"method": "full", "text_encoder": True}}
    )
    whole_xl = export_settings(xl, "kohya").options
    assert whole_xl["learning_rate_te2"] == 0
    assert whole_xl["learning_rate_te1"] == xl.train.learning_rate


IDLE = {
    "lr_scheduler_num_cycles": ({"lr_scheduler": "cosine", "lr_scheduler_num_cycles": 2}, "cosine does not read it"),
    "learning_rate_te1": ({"learning_rate_te1": 1e-5, "network_train_unet_only": True}, "of a LoRA it is"),
    "text_encoder_lr": ({"text_encoder_lr": 1e-5, "network_train_unet_only": True}, "are not trained"),
    "adaptive_noise_scale": ({"adaptive_noise_scale": 0.1}, "part of noise_offset, which is off"),
}


@pytest.mark.parametrize("name", IDLE)
def test_nothing_is_lost_of_what_kohya_does_not_read(name, tmp_path):
    options, why = IDLE[name]
    severity, reason = left(import_source(toml(tmp_path, network_module="networks.lora", **options)), name)
    assert severity == "harmless"
    assert why in reason


def test_a_class_of_schedules(tmp_path):
    file = toml(tmp_path, network_module="networks.lora", lr_scheduler_type="CosineAnnealingLR",
                lr_scheduler_args=["T_max=100"], resume=False)  # fmt: skip
    imported = import_source(file)
    assert run_of(imported).train.lr_schedule.name == "cosine"
    assert [item.option for item in imported.written.dropped if item.severity == "lost"] == [
        'lr_scheduler_type = "CosineAnnealingLR"', 'lr_scheduler_args = ["T_max=100"]']  # fmt: skip


def test_a_finished_lora_says_what_it_was_trained_on(tmp_path):
    datasets = [{"resolution": [1024, 768], "batch_size_per_device": 5, "enable_bucket": True,
                 "min_bucket_reso": 256, "subsets": [{"num_repeats": 2, "shuffle_caption": True},
                                                     {"num_repeats": 2, "is_reg": True}]}]  # fmt: skip
    metadata = {"ss_datasets": json.dumps(datasets), "ss_base_model_version": "sdxl_base_v1-0", "ss_network_dim": "8",
                "ss_text_encoder_lr": "0.0001"}  # fmt: skip
    imported = import_source(goldens.finished(metadata, tmp_path / "lora.safetensors"))
    run = run_of(imported)
    assert (run.train.batch_size, run.train.text_encoder_2) == (5, True)
    assert (run.data.resolution, run.data.buckets, run.data.repeats) == ([1024, 768], True, 2)
    assert "base_model_version" not in imported.written.text
    with pytest.raises(UserError, match="base_model_version is flux1, so this is for Flux"):
        explain(goldens.finished({"ss_base_model_version": "flux1", "ss_seed": "1"}, tmp_path / "f.safetensors"))


def whole(**train):
    """A run that trains all weights."""
    return parse_run({"model": {"path": "m"}, "data": {"folder": "i"}, "train": {"method": "full", **train}})


def test_exports_name_the_program_that_takes_them(tmp_path):
    """fine_tune.py takes no folders of images; train_db.py trains the text encoder unless it is told so."""
    full = export_settings(whole(), "kohya")
    assert full.script.startswith("train_db.py (for SDXL sdxl_train.py) of")
    assert full.options["stop_text_encoder_training"] == -1
    assert "stop_text_encoder_training" not in export_settings(whole(text_encoder=True), "kohya").options
    xl = export_settings(whole(text_encoder=True, text_encoder_2=True), "kohya")
    assert xl.script.startswith("sdxl_train.py of")
    assert xl.options["no_half_vae"] is True
    back = import_source(toml(tmp_path, pretrained_model_name_or_path="m", train_data_dir="i",
                              stop_text_encoder_training=500))  # fmt: skip
    assert run_of(back).train.text_encoder


def test_exports_that_kohya_would_stop_at(tmp_path):
    crops = {"folder": "i", "random_crop": True, "buckets": True, "bucket_step": 40, "cache": True}
    exported = export_settings(parse_run({"model": {"path": "m"}, "data": crops}), "kohya")
    assert not {"cache_latents", "cache_latents_to_disk"} & set(exported.options)
    reasons = {item.option: item.reason for item in exported.dropped}
    assert reasons["data.cache = true"] == "kohya stops where random crops are cached"
    assert "no multiple of 64" in reasons["data.bucket_step = 40"]


def test_exports_to_onetrainer_say_what_they_leave():
    run = parse_run({"seed": 7, "model": {"path": "m", "max_tokens": 150}, "data": {"folder": "i"},
                 "log": {"trackers": ["tensorboard", "wandb"]}})  # fmt: skip
    exported = export_settings(run, "onetrainer")
    left_options = {item.option for item in exported.dropped}
    assert {"seed = 7", "model.max_tokens = 150", 'log.trackers = ["wandb"]'} <= left_options
    assert exported.options["tensorboard"] is True


# -- the texts --------------------------------------------------------------------------------------------------------

FAR = ("use_shell", "state_dir", "class_prompt", "version", "additional_parameters", "te_lr_ratio", "description")


@pytest.mark.parametrize("name", FAR)
def test_no_hint_is_better_than_a_silly_one(name):
    assert closest_option(name, RUN) is None


def test_a_reason_stands_once(tmp_path):
    file = toml(tmp_path, network_module="networks.lora", cache_latents=True, sdpa=True, no_half_vae=True)
    text = import_source(file).written.text
    assert text.count("leave it out, it is always so here") == 1
    assert "cache_latents = true, sdpa = true, no_half_vae = true: leave it out" in text


def test_what_is_missing_is_told_apart(tmp_path):
    missing = import_source(toml(tmp_path, network_module="x", pretrained_model_name_or_path="owner/model-1.0")).missing
    assert missing == (
        "model.path: there is no owner/model-1.0; if it is a name on a hub, download the model first",
        "data.folder: the settings do not name it, so images is a placeholder",
    )


def test_steps_that_are_never_trained_are_ranges(tmp_path):
    file = toml(tmp_path, network_module="networks.lora", min_timestep=20, max_timestep=900)
    assert "Never trained: t = 0..19 and 900..999." in explain_text.explanation_to_text(explain(file))


def test_metadata_of_no_known_program_is_cut(tmp_path):
    from snrlab.model_files.inspection.inspection import inspect_file

    names = {f"unet:{i}:rank": "1" for i in range(60)}
    file = goldens.finished(names, tmp_path / "old.safetensors")
    text = to_text(inspection_blocks(inspect_file(file), 10))
    assert len(grouped(names, 10)["Other metadata"]) == 60
    assert text.endswith("  and 40 more; --format json has them")
