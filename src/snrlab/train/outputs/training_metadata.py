"""Facts of a run for kohya's metadata: names of folders, sizes, tags, counts; never a path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from snrlab.config.option_tables.kohya import DATASET_TOML
from snrlab.config.sections.captions import CaptionOptions
from snrlab.config.sections.data import TAG_OPTIONS
from snrlab.data.images.buckets import PixelSize
from snrlab.data.items import DataSet, Item
from snrlab.model_files.metadata.kohya_metadata import BaseHashes, Images, Training, file_hashes
from snrlab.train.job import Job


def training_facts(job: Job, steps: int, started: datetime | None, *, hashed: bool = True) -> Training:
    """The facts of a run after `steps` steps; times are included only if `started` is known.

    Without `hashed` the hashes are left out, for which the base model's file is read to the end.
    """
    return Training(
        base=_base_hashes(job, hashed),
        images=_images(job),
        steps=steps,
        devices=job.processes.count,
        epochs=-(-steps * job.total // len(job.examples)),
        started=started,
        finished=datetime.now(started.tzinfo) if started else None,
    )


def _base_hashes(job: Job, hashed: bool) -> BaseHashes:
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
    data, items = job.config.data, job.examples.items
    parts = _by_part(items)
    first = next(part for part in parts if not part.regularisation)
    image_counts = {part: sum(item.repeats for item in members) for part, members in parts.items()}
    reg = sum(count for part, count in image_counts.items() if part.regularisation)
    sizes = [(bucket.size, bucket.members.tolist()) for bucket in job.examples.buckets]
    several_sets = bool(data.sets) or data.dataset_config is not None
    return Images(
        train=sum(image_counts.values()) - reg,
        reg=reg,
        validation=len(job.validation_set.names) if job.validation_set else 0,
        size=first.resolution,
        options=_options(parts) | {"ss_prior_loss_weight": data.prior_loss_weight},
        datasets=_datasets(job, parts) if several_sets else (),
        dataset_dirs=_folders(parts, regularisation=False),
        reg_dataset_dirs=_folders(parts, regularisation=True),
        tag_frequency=tag_frequency(parts),
        bucket_info=_bucket_info(items, sizes),
    )


def _by_part(items: Iterable[Item]) -> dict[DataSet, list[Item]]:
    by_part: dict[DataSet, list[Item]] = {}
    for item in items:
        by_part.setdefault(item.part, []).append(item)
    return by_part


def _folders(parts: Mapping[DataSet, Sequence[Item]], *, regularisation: bool) -> dict[str, dict[str, int]]:
    chosen = ((part, members) for part, members in parts.items() if part.regularisation == regularisation)
    return {part.name: {"n_repeats": part.repeats, "img_count": len(members)} for part, members in chosen}


def tag_frequency(parts: Mapping[DataSet, Sequence[Item]]) -> dict[str, dict[str, int]]:
    """Number of captions with each tag, in lower case, by folder."""
    frequency = {}
    for part, members in parts.items():
        separator = part.captions.caption_separator
        tags = (tag.strip().lower() for item in members for tag in item.captions[0].split(separator))
        frequency[part.name] = dict(Counter(tag for tag in tags if tag))
    return frequency


def _bucket_info(items: Sequence[Item], sizes: Sequence[tuple[PixelSize, Sequence[int]]]) -> dict[str, Any]:
    """Images per epoch by bucket size, and the mean error of their aspect ratios."""
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
    return {
        "ss_enable_bucket": bucketed is not None,
        "ss_min_bucket_reso": bucketed.smallest if bucketed else None,
        "ss_max_bucket_reso": bucketed.largest if bucketed else None,
        "ss_bucket_no_upscale": bucketed is not None and not bucketed.upscale,
        "ss_flip_aug": any(part.flip for part in chosen),
        "ss_random_crop": any(part.random_crop for part in chosen),
        "ss_cache_latents": not any(part.random_crop for part in chosen),
        **{f"ss_{name}": _of_all(chosen, field) for field, name in _caption_options("run")},
    }


def _caption_options(place: Literal["run", "set"]) -> Iterator[tuple[str, str]]:
    """(our field, kohya's name) of the options of captions that kohya writes for a run, or for each set."""
    for field, option in DATASET_TOML.items():
        if field in CaptionOptions.model_fields and option.metadata in (place, "both"):
            yield field, option.name


def _of_all(sets: Sequence[DataSet], field: str) -> object:
    """An option of captions for several sets: of tags that of the first set that moves them, else the most."""
    if field in TAG_OPTIONS:
        return getattr(next((s.captions for s in sets if s.captions.moves_tags), sets[0].captions), field)
    return max(getattr(s.captions, field) for s in sets)


def _datasets(job: Job, parts: Mapping[DataSet, Sequence[Item]]) -> list[dict[str, Any]]:
    """One entry for each resolution, as in a dataset TOML, with its options and folders."""
    groups: dict[Any, list[DataSet]] = {}
    for part in parts:
        groups.setdefault((part.resolution, part.buckets), []).append(part)
    datasets = []
    for (resolution, buckets), members in groups.items():
        image_counts = {part: sum(item.repeats for item in parts[part]) for part in members}
        group_items = {id(item) for part in members for item in parts[part]}
        items = job.examples.items
        sizes = [
            (bucket.size, in_group)
            for bucket in job.examples.buckets
            if (in_group := [i for i in bucket.members.tolist() if id(items[i]) in group_items])
        ]
        datasets.append(
            {
                "is_dreambooth": True,
                "batch_size_per_device": job.config.train.batch_size,
                "num_train_images": sum(n for part, n in image_counts.items() if not part.regularisation),
                "num_reg_images": sum(n for part, n in image_counts.items() if part.regularisation),
                "resolution": list(resolution),
                "enable_bucket": buckets is not None,
                "min_bucket_reso": buckets.smallest if buckets else None,
                "max_bucket_reso": buckets.largest if buckets else None,
                "tag_frequency": tag_frequency({part: parts[part] for part in members}),
                "bucket_info": _bucket_info(items, sizes),
                "subsets": [_subset(part, len(parts[part])) for part in members],
            }
        )
    return datasets


def _subset(part: DataSet, count: int) -> dict[str, Any]:
    return {
        "image_dir": part.name,
        "img_count": count,
        "num_repeats": part.repeats,
        "is_reg": part.regularisation,
        "color_aug": False,
        "flip_aug": part.flip,
        "random_crop": part.random_crop,
        **{name: getattr(part.captions, field) for field, name in _caption_options("set")},
    }
