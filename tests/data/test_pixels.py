"""An image to its pixels: what is cut out, what counts, and what SDXL is told of it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from snrlab import UserError
from snrlab.data.images.buckets import Fit, fit
from snrlab.data.images.pixels import centre_crop, cut, decode, load_pixels, scaled, size_facts, to_latent_size
from snrlab.data.items import BucketRule, DataSet, Item

RULE = BucketRule(smallest=32, largest=256, multiple=16)


def noise_image(width, height, mode="RGB", seed=0) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze()).resize((width, height)) if bands == 1 else Image.fromarray(pixels)


def item_of(path: Path, mask=None, alpha_mask=False) -> Item:
    part = DataSet("set", (64, 64), alpha_mask=alpha_mask)
    return Item(path.name, path, None, decode(path).size, ("",), part, mask=mask)


def ramp(width, height) -> Image.Image:
    """Red says the column, green the row."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([columns, rows, 0 * rows], -1).astype(np.uint8))


@pytest.mark.parametrize("size", [(64, 64), (100, 80), (80, 100), (33, 200), (37, 41), (640, 480)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_without_buckets_the_middle_is_scaled_in_one_go(size, mode, tmp_path):
    noise_image(*size, mode).save(tmp_path / "a.png")
    crop = centre_crop(item_of(tmp_path / "a.png"), fit(size, (64, 64), None))
    with Image.open(tmp_path / "a.png") as image:
        if "A" in mode:
            image = Image.alpha_composite(Image.new("RGBA", size, "white"), image.convert("RGBA"))
        known = ImageOps.fit(image.convert("RGB"), (64, 64), Image.Resampling.LANCZOS)
    assert np.array_equal(crop.pixels, np.asarray(known))
    assert np.array_equal(crop.pixels, load_pixels(tmp_path / "a.png", 64))
    assert crop.mask is None


def test_shipped_pixels_need_no_file():
    pixels = np.asarray(noise_image(64, 64))
    item = Item("a", None, pixels, (64, 64), ("",), DataSet("set", (64, 64)))
    assert np.array_equal(centre_crop(item, fit((64, 64), (64, 64), None)).pixels, pixels)
    half = Image.fromarray(pixels).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(centre_crop(item, fit((64, 64), (32, 32), None)).pixels, np.asarray(half))


def test_a_bucket_cuts_the_middle_out_of_the_scaled_image(tmp_path):
    image = noise_image(150, 70)
    image.save(tmp_path / "a.png")
    place = fit(image.size, (64, 64), RULE)
    left, top = place.middle
    whole = np.asarray(image.resize(place.scaled, Image.Resampling.LANCZOS))
    pixels = centre_crop(item_of(tmp_path / "a.png"), place).pixels
    assert pixels.shape == (place.target[1], place.target[0], 3)
    assert np.array_equal(pixels, whole[top : top + place.target[1], left : left + place.target[0]])


def test_an_image_that_is_not_scaled_is_only_cut(tmp_path):
    ramp(90, 70).save(tmp_path / "a.png")
    place = fit((90, 70), (128, 128), BucketRule(multiple=16, upscale=False))
    pixels = centre_crop(item_of(tmp_path / "a.png"), place).pixels
    assert pixels.shape == (64, 80, 3)
    assert pixels[0, 0].tolist() == [5, 3, 0]
    assert pixels[-1, -1].tolist() == [84, 66, 0]


@given(st.integers(0, 26), st.integers(0, 6))
def test_sdxl_is_told_where_the_window_lies(tmp_path_factory, left, top):
    """Top and left are where the window's first pixel is in the scaled image, mirrored or not."""
    path = tmp_path_factory.getbasetemp() / "ramp.png"
    ramp(90, 70).save(path)
    place = Fit((64, 64), (90, 70))
    crop = cut(scaled(item_of(path), place), place, (left, top))
    facts = size_facts((90, 70), place, (left, top))
    assert facts == (70, 90, top, left, 64, 64)
    assert crop.pixels[0, 0, :2].tolist() == [left, top]
    turned = size_facts((90, 70), place, (left, top), mirrored=True)
    mirrored_image = np.asarray(ramp(90, 70))[:, ::-1]
    assert crop.mirrored.pixels[0, 0].tolist() == mirrored_image[turned[2], turned[3]].tolist()


def test_a_mask_is_cut_like_its_image(tmp_path):
    """Where the image is black the mask is too, whatever is cut out and mirrored."""
    image = Image.new("L", (120, 80), 255)
    image.paste(0, (20, 10, 70, 60))
    image.save(tmp_path / "a.png")
    image.resize((60, 40)).save(tmp_path / "mask.png")
    for rule in (None, RULE):
        place = fit((120, 80), (64, 64), rule)
        for crop in (v := centre_crop(item_of(tmp_path / "a.png", tmp_path / "mask.png"), place), v.mirrored):
            assert np.abs(crop.pixels[..., 0] / 255 - crop.mask).mean() < 0.03
            assert 0.1 < crop.mask.mean() < 0.9
    assert not np.array_equal(v.mask, v.mirrored.mask)


def test_transparency_as_a_mask(tmp_path):
    image = noise_image(64, 64, "RGB").convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 32, 64))
    image.save(tmp_path / "a.png")
    place = fit((64, 64), (64, 64), None)
    crop = centre_crop(item_of(tmp_path / "a.png", alpha_mask=True), place)
    assert (crop.mask[:, :32] == 0).all()
    assert (crop.mask[:, 32:] == 1).all()
    assert (crop.pixels[:, :32] == 255).all()
    noise_image(64, 64, "RGB").save(tmp_path / "b.png")
    assert centre_crop(item_of(tmp_path / "b.png", alpha_mask=True), place).mask is None, (
        "an opaque image counts everywhere"
    )


def test_a_mask_at_latent_size_is_the_mean_of_its_pixels():
    mask = np.random.default_rng(0).random((16, 24), dtype=np.float32)
    small = to_latent_size(mask, 8)
    assert small.shape == (2, 3)
    assert small[1, 2] == pytest.approx(mask[8:, 16:].mean(), rel=1e-6)


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    for suffix in ("gif", "webp", "png"):
        options = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
        crop = centre_crop(item_of(tmp_path / f"a.{suffix}"), fit((16, 16), (16, 16), None))
        assert crop.pixels[0, 0].tolist() == [255, 0, 0], suffix


def test_sixteen_bits(tmp_path):
    Image.fromarray(np.full((16, 16), 40000, dtype=np.uint16)).save(tmp_path / "a.png")
    assert centre_crop(item_of(tmp_path / "a.png"), fit((16, 16), (16, 16), None)).pixels[0, 0].tolist() == [155] * 3


def test_what_cannot_be_used_is_named(tmp_path):
    place = fit((64, 64), (64, 64), None)
    ramp(64, 64).save(tmp_path / "a.png")
    item = item_of(tmp_path / "a.png")
    ramp(64, 48).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png was 64x64 when the run began and is 64x48 now"):
        centre_crop(item, place)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.png cannot be read"):
        centre_crop(item, place)
    ramp(64, 64).save(tmp_path / "a.png")
    (tmp_path / "m.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"the mask m\.png of a\.png cannot be read"):
        centre_crop(item_of(tmp_path / "a.png", tmp_path / "m.png"), place)
    Image.fromarray(np.zeros((8, 8), dtype=np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(UserError, match="floating-point"):
        decode(tmp_path / "f.tiff")
