"""What a LoRA file says about itself: kohya's keys and modelspec, true and complete, and no path."""

import hashlib
import json
from datetime import UTC, datetime

import pytest
from safetensors import safe_open

import tiny
from snrlab.config import parse_run
from snrlab.model_files.metadata.kohya_metadata import BaseHashes, Images, Training, file_hashes
from snrlab.model_files.metadata.lora_metadata import lora_metadata
from snrlab.train import runner
from snrlab.train.job import prepare
from snrlab.train.outputs.export import export_result
from snrlab.train.outputs.training_metadata import training_facts

# what kohya's train_network.py (48d368f) always writes, but for its own program's commit
KOHYA = [
    "ss_session_id", "ss_training_started_at", "ss_training_finished_at", "ss_output_name", "ss_learning_rate",
    "ss_text_encoder_lr", "ss_unet_lr", "ss_num_train_images", "ss_num_validation_images", "ss_num_reg_images",
    "ss_num_batches_per_epoch", "ss_num_epochs", "ss_epoch", "ss_steps", "ss_batch_size_per_device",
    "ss_total_batch_size", "ss_resolution", "ss_gradient_checkpointing", "ss_gradient_accumulation_steps",
    "ss_max_train_steps", "ss_lr_warmup_steps", "ss_lr_scheduler", "ss_network_module", "ss_network_dim",
    "ss_network_alpha", "ss_network_dropout", "ss_network_args", "ss_mixed_precision", "ss_full_fp16", "ss_v2",
    "ss_base_model_version", "ss_clip_skip", "ss_max_token_length", "ss_cache_latents", "ss_seed", "ss_lowram",
    "ss_noise_offset", "ss_noise_offset_random_strength", "ss_multires_noise_iterations", "ss_multires_noise_discount",
    "ss_adaptive_noise_scale", "ss_zero_terminal_snr", "ss_training_comment", "ss_optimizer", "ss_max_grad_norm",
    "ss_caption_dropout_rate", "ss_caption_dropout_every_n_epochs", "ss_caption_tag_dropout_rate",
    "ss_face_crop_aug_range", "ss_prior_loss_weight", "ss_min_snr_gamma", "ss_scale_weight_norms", "ss_ip_noise_gamma",
    "ss_ip_noise_gamma_random_strength", "ss_debiased_estimation", "ss_loss_type", "ss_huber_schedule",
    "ss_huber_scale", "ss_huber_c", "ss_fp8_base", "ss_fp8_base_unet", "ss_validation_seed", "ss_validation_split",
    "ss_max_validation_steps", "ss_validate_every_n_epochs", "ss_validate_every_n_steps", "ss_resize_interpolation",
    "ss_color_aug", "ss_flip_aug", "ss_random_crop", "ss_shuffle_caption", "ss_enable_bucket", "ss_bucket_no_upscale",
    "ss_min_bucket_reso", "ss_max_bucket_reso", "ss_bucket_info", "ss_keep_tokens", "ss_dataset_dirs",
    "ss_tag_frequency", "ss_sd_model_name", "sshs_model_hash", "sshs_legacy_hash",
]  # fmt: skip


def read_metadata(file):
    with safe_open(str(file), framework="pt") as opened:
        return opened.metadata()


def metadata(config):
    job = prepare(config)
    return lora_metadata(job.config, job.recipe, training_facts(job, 2, None))


def test_all_of_kohyas_keys_are_there(tiny_model, pictures, tmp_path):
    config = tiny.run_config(tiny_model, pictures, output={"dates": True}, train={"steps": 1})
    outcome = runner.run(config, tmp_path)
    written = read_metadata(outcome.folder.result(outcome.config))
    assert set(KOHYA) <= written.keys()
    assert float(written["ss_training_finished_at"]) >= float(written["ss_training_started_at"]) > 0
    assert written["ss_network_module"] == "networks.lora"
    assert written["ss_tag_frequency"].startswith('{"pictures": {"colour": 6, "rectangle 0": 1')
    assert json.loads(written["ss_dataset_dirs"]) == {"pictures": {"img_count": 6, "n_repeats": 1}}


def test_what_the_options_become(tiny_model, pictures):
    config = tiny.run_config(
        tiny_model,
        pictures,
        train={
            "text_encoder": True, "unet_learning_rate": 1e-3, "text_encoder_learning_rate": 1e-4, "steps": 10,
            "gradient_checkpointing": True, "loss": "huber:c=0.2", "epochs": None,
        },
        lora={
            "rank": 2, "alpha": 1.0, "layers": ["attention", "convolution"], "conv_rank": 3, "rank_dropout": 0.1,
            "module_dropout": 0.2, "dropout": 0.3, "loraplus_ratio": 4.0, "max_norm": 1.0,
        },
        recipe={"density": "uniform:min_timestep=20,max_timestep=500", "weighting": ["min_snr:gamma=5"]},
        model={"max_tokens": 150},
        output={"description": "It is small.", "title": "Small"},
    )  # fmt: skip
    written = metadata(config)
    wanted = {
        "ss_unet_lr": "0.001", "ss_text_encoder_lr": "0.0001", "ss_learning_rate": "0.01",
        "ss_gradient_checkpointing": "True", "ss_loss_type": "huber", "ss_huber_c": "0.2", "ss_huber_schedule": "snr",
        "ss_network_dim": "2", "ss_network_alpha": "1.0", "ss_network_dropout": "0.3", "ss_scale_weight_norms": "1.0",
        "ss_min_snr_gamma": "5.0", "ss_max_token_length": "150", "ss_training_comment": "It is small.",
        "ss_num_batches_per_epoch": "2", "ss_num_epochs": "7", "modelspec.timestep_range": "20,500",
        "modelspec.title": "Small", "modelspec.encoder_layer": "1",
    }  # fmt: skip
    assert {key: written[key] for key in wanted} == wanted
    assert json.loads(written["ss_network_args"]) == {
        "conv_dim": "3", "conv_alpha": "1.0", "rank_dropout": "0.1", "module_dropout": "0.2",
        "loraplus_lr_ratio": "4.0",
    }  # fmt: skip


def test_a_dora_names_the_program_that_reads_it(tiny_model, pictures):
    written = metadata(tiny.run_config(tiny_model, pictures, lora={"rank": 2, "dora": True}))
    assert written["ss_network_module"] == "lycoris.kohya"
    assert json.loads(written["ss_network_args"]) == {"algo": "locon", "dora_wd": "True"}


def test_sets_and_regularisation(tiny_model, tmp_path):
    for name, count, width in (("cats", 4, 20), ("dogs", 3, 20), ("animals", 2, 20)):
        tiny.save_pictures(tmp_path / name, count, width)
    (tmp_path / "cats" / "00.txt").write_text("Cat, colour, red")
    sets = [
        {"folder": str(tmp_path / "cats"), "repeats": 3, "flip": True},
        {"folder": str(tmp_path / "dogs"), "resolution": 24},
        {"folder": str(tmp_path / "animals"), "regularisation": True},
    ]
    data = tiny.run_dict(tiny_model, tmp_path)
    data["data"] = {"sets": sets, "resolution": 16}
    written = metadata(parse_run(data))
    assert written["ss_num_train_images"] == "15"
    assert json.loads(written["ss_dataset_dirs"]) == {
        "cats": {"img_count": 4, "n_repeats": 3}, "dogs": {"img_count": 3, "n_repeats": 1},
    }  # fmt: skip
    assert list(json.loads(written["ss_reg_dataset_dirs"])) == ["animals"]
    tags = json.loads(written["ss_tag_frequency"])
    assert tags["cats"]["colour"] == 4
    assert tags["cats"]["cat"] == 1, "in small letters, as kohya counts them"
    buckets = json.loads(written["ss_bucket_info"])["buckets"].values()
    by_size = {tuple(b["resolution"]): b["count"] for b in buckets}
    assert by_size[24, 24] == 3
    assert sum(by_size.values()) == int(written["ss_num_train_images"]) + int(written["ss_num_reg_images"])
    datasets = {tuple(d["resolution"]): d for d in json.loads(written["ss_datasets"])}
    assert set(datasets) == {(16, 16), (24, 24)}
    assert [s["image_dir"] for s in datasets[24, 24]["subsets"]] == ["dogs"]
    assert datasets[16, 16]["num_train_images"] == 12
    assert datasets[16, 16]["subsets"][0]["flip_aug"]
    assert written["ss_flip_aug"] == "True"


def test_no_path_is_in_any_value(tiny_model, pictures, tmp_path):
    job = prepare(tiny.run_config(tiny_model, pictures))
    export_result(job, tmp_path / "first.safetensors", 0)
    for name in ("held", "animals"):
        tiny.save_pictures(tmp_path / name)
    config = tiny.run_config(
        tiny_model,
        pictures,
        lora={"rank": 2, "start_from": str(tmp_path / "first.safetensors")},
        model={"vae": str(tiny_model / "vae")},
        data={"regularisation": str(tmp_path / "animals"), "cache": True, "cache_folder": str(tmp_path / "cache")},
        validation={"folder": str(tmp_path / "held")},
        sample={"prompts": ["/imagine nothing"]},
    )
    written = metadata(config)
    assert not [key for key, value in written.items() if str(tmp_path) in value or str(tmp_path.parent) in value]
    config = json.loads(written["snrlab.config"])
    assert config["lora"]["start_from"] == "first.safetensors"
    assert config["data"]["folder"] == pictures.name
    assert config["sample"]["prompts"] == ["/imagine nothing"], "a prompt is no path"
    assert written["ss_vae_name"] == "vae"
    assert "modelspec.date" not in written
    assert "ss_training_started_at" not in written


@pytest.mark.parametrize(
    ("family", "kind", "architecture", "version", "layer"),
    [
        ("sd1", "epsilon", "stable-diffusion-v1/lora", "sd_v1", "1"),
        ("sd2", "epsilon", "stable-diffusion-v2-512/lora", "sd_v2", "2"),
        ("sd2", "v_prediction", "stable-diffusion-v2-768-v/lora", "sd_v2_v", "2"),
        ("sdxl", "v_prediction", "stable-diffusion-xl-v1-base/lora", "sdxl_base_v1-0", "2"),
    ],
)
def test_families(family, kind, architecture, version, layer, tiny_model, pictures):
    job = prepare(tiny.run_config(tiny_model, pictures, recipe={"prediction_type": kind}, model={"convert": True}))
    now = datetime(2024, 5, 6, tzinfo=UTC)
    training = Training(BaseHashes("base", family, ("12345678", "ab")), Images(6), 2, 1, now, now)
    config = job.config.model_copy(update={"output": job.config.output.model_copy(update={"dates": True})})
    written = lora_metadata(config, job.recipe, training)
    assert written["modelspec.architecture"] == architecture
    assert written["ss_base_model_version"] == version
    assert written["modelspec.encoder_layer"] == layer
    assert written["modelspec.prediction_type"] == ("v" if kind == "v_prediction" else "epsilon")
    assert written["ss_sd_model_hash"] == "12345678"
    assert written["modelspec.date"].startswith("2024-05-06")


def test_hashes_of_a_checkpoint_are_a1111s(tmp_path):
    content = bytes(range(256)) * 0x1200
    (tmp_path / "model.safetensors").write_bytes(content)
    old, new = file_hashes(tmp_path / "model.safetensors")
    assert old == hashlib.sha256(content[0x100000 : 0x100000 + 0x10000]).hexdigest()[:8]
    assert new == hashlib.sha256(content).hexdigest()
