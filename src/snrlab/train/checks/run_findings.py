"""Remarks on a run as a whole, beside those on its recipe: what is allowed, and seldom meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from snrlab.core.findings.finding import Finding
from snrlab.models.encoding.tokens import room, token_count
from snrlab.train.job import Job

HIGH_RATE = {"lora": 0.1, "full": 1e-3}  # of AdamW; nobody's recipe is near


def run_findings(job: Job) -> list[Finding]:
    """All remarks on a run.

    Raises:
        UserError: a batch that would hold the same image twice.
    """
    return [finding for rule in _RULES for finding in rule(job)]


def small_buckets(job: Job) -> Iterator[Finding]:
    """Sizes with fewer images than a step takes: a step is of one size, so it takes some of them twice."""
    sizes = [len(rows) for rows in job.conditions.order.buckets]
    small = [count for count in sizes if count < job.total]
    if small and len(sizes) > 1:
        yield Finding(
            "buckets_small",
            "warning",
            f"{len(small)} of {len(sizes)} sizes have fewer images than a step of {job.total}: {sum(small)} of "
            f"{sum(sizes)} images are seen more than once in a step of theirs.",
            "Lower train.batch_size, raise data.bucket_step for fewer sizes, or set data.buckets = false.",
            {"sizes": len(sizes), "small": len(small), "images": sum(small)},
        )


def unseen_images(job: Job) -> Iterator[Finding]:
    """A run that ends before every image has been seen."""
    images, steps = len(job.conditions), job.config.train.steps
    if steps * job.total < images:
        yield Finding(
            "images_unseen",
            "warning",
            f"{steps} steps of {job.total} images are {steps * job.total} images of {images}: the others are never "
            "seen.",
            f"For one pass over all of them set train.steps to {-(-images // job.total)}.",
            {"images": images, "seen": steps * job.total},
        )


def high_rate(job: Job) -> Iterator[Finding]:
    """A rate that optimizers which find their own are given, on AdamW."""
    rate, highest = job.config.train.learning_rate, HIGH_RATE[job.config.train.method]
    if rate >= highest:
        yield Finding(
            "learning_rate_high",
            "warning",
            f"train.learning_rate is {rate:g}, and AdamW moves every weight by about that much a step.",
            "1e-4 is usual for a LoRA and 1e-5 for all weights; 1 belongs to optimizers that find their own rate.",
            {"learning_rate": rate},
        )


def cut_captions(job: Job) -> Iterator[Finding]:
    """Captions with more tokens than are read; those that ship are nobody's to shorten, and the base knows them cut."""
    if job.config.data.shipped is not None:
        return
    components, read = job.components, room(job.components.tokenizer, job.components.encode_rule)
    captions = {text for item in job.conditions.items for text in item.captions}
    counts = [token_count(components.tokenizer, text, components.encode_rule) for text in captions]
    longer = [count for count in counts if count > read]
    if longer:
        yield Finding(
            "captions_cut",
            "warning",
            f"{len(longer)} of {len(captions)} captions have more than the {read} tokens that are read, up to "
            f"{max(longer)}: the end of them counts for nothing.",
            "Shorten them." if read >= 225 else "Set model.max_tokens to 150 or 225, or shorten them.",
            {"captions": len(longer), "most": max(longer), "read": read},
        )


_RULES: tuple[Callable[[Job], Iterator[Finding]], ...] = (
    small_buckets,
    unseen_images,
    high_rate,
    cut_captions,
)
