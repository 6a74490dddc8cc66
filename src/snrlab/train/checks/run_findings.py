"""Findings on a run as a whole, in addition to those on its recipe: settings that are allowed but seldom meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from snrlab.core.findings.finding import Finding
from snrlab.models.encoding.tokens import token_count, token_limit
from snrlab.train.job import Job

HIGH_RATE = {"lora": 0.1, "full": 1e-3}  # learning rates of AdamW, far above every published recipe


def run_findings(job: Job) -> list[Finding]:
    """All findings on a run.

    Raises:
        UserError: a batch that would hold the same image twice.
    """
    return [finding for rule in _RULES for finding in rule(job)]


def small_buckets(job: Job) -> Iterator[Finding]:
    """Sizes with fewer images than a step takes: all images of a step have one size, so it takes some of them twice."""
    sizes = [len(rows) for rows in job.examples.order.buckets]
    small = [count for count in sizes if count < job.total]
    if small and len(sizes) > 1:
        yield Finding(
            "buckets_small",
            "warning",
            f"{len(small)} of {len(sizes)} sizes have fewer images than a step takes ({job.total}). Some steps will "
            f"contain the same image twice; this concerns {sum(small)} of {sum(sizes)} images.",
            "Lower train.batch_size, raise data.bucket_step for fewer sizes, or set data.buckets = false.",
            {"sizes": len(sizes), "small": len(small), "images": sum(small)},
        )


def unseen_images(job: Job) -> Iterator[Finding]:
    """A run that ends before every image has been seen."""
    images, steps = len(job.examples), job.config.train.steps
    if steps * job.total < images:
        yield Finding(
            "images_unseen",
            "warning",
            f"The run ends before it has seen every image: {steps} steps of {job.total} show {steps * job.total} of "
            f"{images} images.",
            f"For one epoch set train.steps to {-(-images // job.total)}.",
            {"images": images, "seen": steps * job.total},
        )


def high_rate(job: Job) -> Iterator[Finding]:
    """A learning rate for AdamW that only suits optimizers that find their own rate."""
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
    """Captions with more tokens than are read; not for shipped images, whose captions the user cannot change."""
    if job.config.data.shipped is not None:
        return
    components, limit = job.components, token_limit(job.components.tokenizer, job.components.encode_rule)
    captions = {text for item in job.examples.items for text in item.captions}
    counts = [token_count(components.tokenizer, text, components.encode_rule) for text in captions]
    too_long = [count for count in counts if count > limit]
    if too_long:
        yield Finding(
            "captions_cut",
            "warning",
            f"{len(too_long)} of {len(captions)} captions are longer than the {limit} tokens that are read; the "
            f"longest has {max(too_long)}. What goes beyond is ignored.",
            "Shorten them." if limit >= 225 else "Set model.max_tokens to 150 or 225, or shorten them.",
            {"captions": len(too_long), "most": max(too_long), "read": limit},
        )


_RULES: tuple[Callable[[Job], Iterator[Finding]], ...] = (
    small_buckets,
    unseen_images,
    high_rate,
    cut_captions,
)
