"""What a run was trained on, as kohya's metadata tells it: folders, sizes, tags, counts. Never a path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from snrlab.data.images.buckets import PixelSize
from snrlab.data.items import DataSet, Item
from snrlab.model_files.metadata.kohya_metadata import BaseHashes, Images, Training, file_hashes
from snrlab.train.job import Job


def training_facts(job: Job, steps: int, started: datetime | None, *, hashed: bool = True) -> Training:
    """The facts of a run after `steps` steps; the time is looked at only where `started` is known.

    Without `hashed` those are left out for which the base model's file is read to its end.
    """
    return Training(
        base=_base(job, hashed),
        images=_images(job),
        steps=steps,
        devices=job.processes.count,
        epochs=-(-steps * job.total // len(job.conditions)),
        started=started,
        finished=datetime.now(started.tzinfo) if started else None,
    )


def _base(job: Job, hashed: bool) -> BaseHashes:
    model = job.config.model
    file, vae = (None if path is None else Path(path) for path in (model.path, model.vae))
    return BaseHashes(
        name=job.components.label,
        family=job.components.family,
        hashes=file_hashes(file) if hashed and file is not None and file.is_file() else None,
        vae_name=None if vae is None else vae.name,
        vae_hashes=file_hashes(vae) if hashed and vae is not None and vae.is_file() else None,
    )


def _images(job: Job) -> Images:
    data, items = job.config.data, job.conditions.items
    parts = _by_part(items)
    first = next(part for part in parts if not part.regularisation)
    pictures = {part: sum(item.repeats for item in members) for part, members in parts.items()}
    reg = sum(count for part, count in pictures.items() if part.regularisation)
    sizes = [(bucket.size, bucket.members.tolist()) for bucket in job.conditions.buckets]
    several = bool(data.sets) or data.dataset_config is not None
    return Images(
        train=sum(pictures.values()) - reg,
        reg=reg,
        validation=len(job.held_back.names) if job.held_back else 0,
        size=first.resolution,
        options=_options(parts) | {"ss_prior_loss_weight": data.prior_loss_weight},
        datasets=_datasets(job, parts) if several else (),
        dataset_dirs=_folders(parts, regularisation=False),
        reg_dataset_dirs=_folders(parts, regularisation=True),
        tag_frequency=tag_frequency(parts),
        bucket_info=_bucket_info(items, sizes),
    )


def _by_part(items: Iterable[Item]) -> dict[DataSet, list[Item]]:
    found: dict[DataSet, list[Item]] = {}
    for item in items:
        found.setdefault(item.part, []).append(item)
    return found


def _folders(parts: Mapping[DataSet, Sequence[Item]], *, regularisation: bool) -> dict[str, dict[str, int]]:
    chosen = ((part, members) for part, members in parts.items() if part.regularisation == regularisation)
    return {part.name: {"n_repeats": part.repeats, "img_count": len(members)} for part, members in chosen}


def tag_frequency(parts: Mapping[DataSet, Sequence[Item]]) -> dict[str, dict[str, int]]:
    """How many captions of a folder have a tag, in small letters."""
    found = {}
    for part, members in parts.items():
        separator = part.captions.separator
        tags = (tag.strip().lower() for item in members for tag in item.captions[0].split(separator))
        found[part.name] = dict(Counter(tag for tag in tags if tag))
    return found


def _bucket_info(items: Sequence[Item], sizes: Sequence[tuple[PixelSize, Sequence[int]]]) -> dict[str, Any]:
    """Pictures an epoch by size, and how far the images' aspect ratios are from those of their sizes."""
    buckets = {
        str(number): {"resolution": list(size), "count": sum(items[i].repeats for i in members)}
        for number, (size, members) in enumerate(sizes)
    }
    errors = [
        abs(size[0] / size[1] - items[i].size[0] / items[i].size[1])
        for size, members in sizes
        for i in members
        for _ in range(items[i].repeats)
    ]
    return {"buckets": buckets, "mean_img_ar_error": sum(errors) / len(errors)}


def _options(parts: Iterable[DataSet]) -> dict[str, object]:
    """What is done with images and captions; of several sets the first one that does something."""
    chosen = list(parts)
    bucketed = next((part.buckets for part in chosen if part.buckets is not None), None)
    captions = next((part.captions for part in chosen if part.captions.moves_tags), chosen[0].captions)
    return {
        "ss_enable_bucket": bucketed is not None,
        "ss_min_bucket_reso": bucketed.smallest if bucketed else None,
        "ss_max_bucket_reso": bucketed.largest if bucketed else None,
        "ss_bucket_no_upscale": bucketed is not None and not bucketed.upscale,
        "ss_flip_aug": any(part.flip for part in chosen),
        "ss_random_crop": any(part.random_crop for part in chosen),
        "ss_cache_latents": not any(part.random_crop for part in chosen),
        "ss_shuffle_caption": captions.shuffle,
        "ss_keep_tokens": captions.keep_tokens,
        "ss_caption_tag_dropout_rate": captions.tag_dropout,
        "ss_caption_dropout_rate": max(part.captions.dropout for part in chosen),
        "ss_caption_dropout_every_n_epochs": max(part.captions.dropout_every for part in chosen),
    }


def _datasets(job: Job, parts: Mapping[DataSet, Sequence[Item]]) -> list[dict[str, Any]]:
    """One entry for each resolution, as in a dataset TOML: what it aims at, and its folders."""
    groups: dict[Any, list[DataSet]] = {}
    for part in parts:
        groups.setdefault((part.resolution, part.buckets), []).append(part)
    found = []
    for (resolution, buckets), members in groups.items():
        pictures = {part: sum(item.repeats for item in parts[part]) for part in members}
        mine = {id(item) for part in members for item in parts[part]}
        items = job.conditions.items
        sizes = [
            (bucket.size, here)
            for bucket in job.conditions.buckets
            if (here := [i for i in bucket.members.tolist() if id(items[i]) in mine])
        ]
        found.append(
            {
                "is_dreambooth": True,
                "batch_size_per_device": job.config.train.batch_size,
                "num_train_images": sum(n for part, n in pictures.items() if not part.regularisation),
                "num_reg_images": sum(n for part, n in pictures.items() if part.regularisation),
                "resolution": list(resolution),
                "enable_bucket": buckets is not None,
                "min_bucket_reso": buckets.smallest if buckets else None,
                "max_bucket_reso": buckets.largest if buckets else None,
                "tag_frequency": tag_frequency({part: parts[part] for part in members}),
                "bucket_info": _bucket_info(items, sizes),
                "subsets": [_subset(part, len(parts[part])) for part in members],
            }
        )
    return found


def _subset(part: DataSet, count: int) -> dict[str, Any]:
    captions = part.captions
    return {
        "image_dir": part.name,
        "img_count": count,
        "num_repeats": part.repeats,
        "is_reg": part.regularisation,
        "color_aug": False,
        "flip_aug": part.flip,
        "random_crop": part.random_crop,
        "shuffle_caption": captions.shuffle,
        "keep_tokens": captions.keep_tokens,
        "keep_tokens_separator": captions.keep_separator,
        "secondary_separator": captions.secondary_separator,
        "enable_wildcard": captions.wildcard,
        "caption_prefix": captions.prefix,
        "caption_suffix": captions.suffix,
    }
