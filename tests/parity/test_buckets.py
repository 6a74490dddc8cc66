"""Our buckets against kohya's published rule, written out here once more, slowly and without looking at ours.

The rule: kohya-ss/sd-scripts, commit 48d368fa557731ad0488c07304dfeba8c07910eb, `make_bucket_resolutions` in
library/model_util.py, `BucketManager.select_bucket` and `adjust_min_max_bucket_reso_by_steps` in library/train_util.py.
"""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from snrlab import UserError
from snrlab.data.images.buckets import bucket_sizes, fit
from snrlab.data.items import BucketRule

RESOLUTIONS = [
    *((side, side) for side in (256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024, 1088, 1152, 1280)),
    *((side, side) for side in (500, 600, 700, 750, 900, 1000)),
    (512, 768), (768, 512), (640, 480), (480, 640), (832, 1216), (1216, 832), (1024, 576), (576, 1024), (896, 1152),
    (1152, 896), (704, 1280), (300, 900), (320, 256), (1000, 600), (510, 514), (960, 544), (1344, 768), (680, 680),
]  # fmt: skip
RULES = [
    BucketRule(*rule) for rule in
    ((256, 1024, 64), (256, 2048, 64), (256, 1024, 32), (320, 1536, 64), (200, 1500, 64), (256, 1280, 128),
     (64, 4096, 64), (128, 1536, 8))
]  # fmt: skip
IMAGES = [(int(w), int(h)) for w, h in np.random.default_rng(7).integers(70, 4200, (60, 2))] + [
    (512, 512), (1024, 1024), (640, 384), (384, 640), (1920, 1080), (1080, 1920), (4000, 300), (300, 4000), (449, 447),
    (513, 511), (100, 100), (832, 1216), (3000, 2999), (256, 1024), (2048, 2048), (65, 3000),
]  # fmt: skip


def floor_to(x: int, step: int) -> int:
    while x % step:
        x -= 1
    return x


def published_sizes(resolution, smallest, largest, step):
    """Every rectangle of the grid that has the most area not above the aimed one, by brute force over both sides."""
    area = resolution[0] * resolution[1]
    low = floor_to(smallest, step)
    high = largest
    while high % step:
        high += 1
    grid = [side for side in range(low, high + 1) if (side - low) % step == 0]
    sizes = set()
    square = max(side for side in range(0, 10000, step) if side * side <= area)
    sizes.add((square, square))
    for width in grid:
        heights = [height for height in range(0, high + 1, step) if width * height <= area]
        if heights and heights[-1] >= low:
            sizes.update({(width, heights[-1]), (heights[-1], width)})
    return sorted(sizes)


def published_bucket(image, sizes):
    w, h = image
    if image not in sizes:
        errors = [abs(a / b - w / h) for a, b in sizes]
        bucket = sizes[errors.index(min(errors))]
    else:
        bucket = image
    factor = bucket[1] / h if w / h > bucket[0] / bucket[1] else bucket[0] / w
    return bucket, (int(w * factor + 0.5), int(h * factor + 0.5))


def published_without_upscale(image, area, step):
    w, h = image
    if w * h > area:
        aspect = w / h
        new_w = (area * aspect) ** 0.5
        new_h = area / new_w
        first_w = floor_to(int(new_w + 0.5), step)
        first_h = floor_to(int(first_w / aspect + 0.5), step)
        second_h = floor_to(int(new_h + 0.5), step)
        second_w = floor_to(int(second_h * aspect + 0.5), step)
        if not first_h or not second_h:
            return None
        if abs(first_w / first_h - aspect) < abs(second_w / second_h - aspect):
            w, h = first_w, int(first_w / aspect + 0.5)
        else:
            w, h = int(second_h * aspect + 0.5), second_h
    return (floor_to(w, step), floor_to(h, step)), (w, h)


def inside(resolution, rule):
    low = floor_to(rule.smallest, rule.multiple)
    return min(resolution) >= low and max(resolution) <= -(-rule.largest // rule.multiple) * rule.multiple


def test_there_are_forty_resolutions():
    assert len(set(RESOLUTIONS)) == 40


@pytest.mark.parametrize("resolution", RESOLUTIONS, ids=lambda r: f"{r[0]}x{r[1]}")
def test_the_table_of_buckets(resolution):
    for rule in (rule for rule in RULES if inside(resolution, rule)):
        wanted = published_sizes(resolution, rule.smallest, rule.largest, rule.multiple)
        assert list(bucket_sizes(resolution, rule)) == wanted, rule


@pytest.mark.parametrize("resolution", RESOLUTIONS, ids=lambda r: f"{r[0]}x{r[1]}")
def test_the_bucket_of_an_image(resolution):
    for rule in (rule for rule in RULES if inside(resolution, rule)):
        sizes = published_sizes(resolution, rule.smallest, rule.largest, rule.multiple)
        for image in IMAGES:
            fitted = fit(image, resolution, rule)
            assert (fitted.target, fitted.scaled) == published_bucket(image, sizes), (rule, image)
            assert min(fitted.slack) >= 0


@pytest.mark.parametrize("resolution", RESOLUTIONS, ids=lambda r: f"{r[0]}x{r[1]}")
def test_the_bucket_of_an_image_that_is_not_enlarged(resolution):
    for multiple, image in product((32, 64, 128), IMAGES):
        rule = BucketRule(multiple=multiple, upscale=False)
        wanted = published_without_upscale(image, resolution[0] * resolution[1], multiple)
        if wanted is None:  # there the published program divides by zero
            continue
        if min(wanted[0]) == 0:  # and there it makes empty images
            with pytest.raises(UserError, match="no bucket"):
                fit(image, resolution, rule)
            continue
        fitted = fit(image, resolution, rule)
        assert (fitted.target, fitted.scaled) == wanted, (multiple, image)
        assert min(fitted.slack) >= 0


def test_known_tables():
    """Two tables as users know them from the program's log."""
    sd = ((256, 832), (256, 896), (256, 960), (256, 1024), (320, 704), (320, 768), (384, 640), (448, 576), (512, 512))
    assert bucket_sizes((512, 512), BucketRule())[:9] == sd
    sdxl = bucket_sizes((1024, 1024), BucketRule(largest=2048))
    assert {(832, 1216), (1216, 832), (896, 1152), (1024, 1024), (1344, 768)} <= set(sdxl)


def test_without_buckets_every_image_covers_the_resolution():
    for image in IMAGES:
        fitted = fit(image, (512, 384), None)
        assert fitted.target == (512, 384)
        assert min(fitted.slack) == 0
        assert Fraction(*fitted.scaled) == pytest.approx(Fraction(*image), rel=0.02)


def test_bounds_that_leave_the_resolution_out():
    with pytest.raises(UserError, match="1280x1280 has a side outside the buckets' bounds, 256 to 1024"):
        bucket_sizes((1280, 1280), BucketRule())
