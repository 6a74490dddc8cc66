"""kohya's .npz latents: read where they fit, and a reason where they do not."""

import os

import numpy as np
import pytest

from snrlab.models.encoding.kohya_cache import UnusableError, cache_file, read_kohya_latents

SHAPE = (4, 8, 12)  # of a bucket of 96 x 64 pixels
SIZE = (150, 100)


def latents(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def save(file, suffix="", mirrored=False, shape=SHAPE, size=SIZE, **more):
    """As `save_latents_to_disk` of library/strategy_base.py writes them (kohya-ss/sd-scripts, commit 48d368f)."""
    arrays = {"latents": latents(shape=shape), "original_size": np.array(size), "crop_ltrb": np.array([0, 0, 96, 64])}
    if mirrored:
        arrays["latents_flipped"] = latents(1, shape)
    np.savez(file, **{f"{name}{suffix}": value for name, value in arrays.items()}, **more)


@pytest.fixture
def image(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"picture")
    os.utime(tmp_path / "cat.png", (1e9, 1e9))
    return tmp_path / "cat.png"


@pytest.mark.parametrize("suffix", ["", "_8x12"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_reading(image, suffix, mirrored):
    file = image.with_name("cat_0150x0100_sd.npz")
    save(file, suffix, mirrored, latents_9x9=np.zeros((4, 9, 9)))
    assert cache_file(image, SIZE, "sd") == file
    cached = read_kohya_latents(file, image, SIZE, SHAPE)
    assert np.array_equal(cached.plain, latents())
    assert (cached.mirrored is not None) == mirrored
    if mirrored:
        assert np.array_equal(cached.mirrored, latents(1))


def test_names(image):
    assert cache_file(image, SIZE, "sd") is None
    save(image.with_name("cat_0150x0100_sdxl.npz"))
    assert cache_file(image, SIZE, "sdxl").name == "cat_0150x0100_sdxl.npz"
    with pytest.raises(UnusableError, match="it is for SDXL"):
        cache_file(image, SIZE, "sd")
    save(image.with_name("cat.npz"))
    assert cache_file(image, SIZE, "sd").name == "cat.npz", "the old name, without a family"
    assert cache_file(image, (151, 100), "sd").name == "cat.npz"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"shape": (4, 12, 8)}, "its latents are 12x8, not 8x12"),
        ({"suffix": "_16x16"}, "it has no latents of 8x12, only 16x16"),
        ({"size": (160, 100)}, "it is of an image of 160x100, not 150x100"),
    ],
)
def test_what_does_not_fit(image, how, why):
    save(image.with_name("cat.npz"), **how)
    with pytest.raises(UnusableError, match=why):
        read_kohya_latents(image.with_name("cat.npz"), image, SIZE, SHAPE)


def test_an_edited_image(image):
    save(image.with_name("cat.npz"))
    os.utime(image)
    os.utime(image.with_name("cat.npz"), (1e9, 1e9))
    with pytest.raises(UnusableError, match="older than its image"):
        read_kohya_latents(image.with_name("cat.npz"), image, SIZE, SHAPE)


def test_not_a_number(image):
    np.savez(image.with_name("cat.npz"), latents=np.full(SHAPE, np.nan))
    with pytest.raises(UnusableError, match="not finite"):
        read_kohya_latents(image.with_name("cat.npz"), image, SIZE, SHAPE)


@pytest.mark.parametrize("content", [b"", b"no archive", "half", "pickle"])
def test_damaged_files(image, content):
    file = image.with_name("cat.npz")
    if content == "pickle":
        np.savez(file, latents=np.array([{"a": 1}], dtype=object))
    elif content == "half":
        save(file)
        file.write_bytes(file.read_bytes()[:-200])
    else:
        file.write_bytes(content)
    with pytest.raises(UnusableError, match="cannot be read"):
        read_kohya_latents(file, image, SIZE, SHAPE)
