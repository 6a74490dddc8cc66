"""What each option of images does: the tensors that a step is given, or what is encoded and kept."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from effects import shows
from encoding import BUCKETS, Encoded, encode, model, save_mixed
from snrlab.models.encoding.kohya_cache import cache_file


@pytest.fixture
def mixed(tmp_path):
    return save_mixed(tmp_path / "mixed")


@pytest.fixture(params=["data", "data.sets"])
def serve(request, mixed):
    """Conditions with options that are stated for the whole run, or for one set of images."""

    def made(steps: int = 12, /, **options) -> tuple[Encoded, list]:
        if request.param == "data":
            result = encode(mixed, data={"resolution": 32, **options})
        else:
            result = encode(mixed, data={"folder": None, "sets": [{"folder": str(mixed), "resolution": 32, **options}]})
        return result, [result.batch(step) for step in range(steps)]

    return made


def shapes(batches) -> set[tuple[int, int]]:
    """Widths and heights of the latents, in pixels."""
    return {(4 * b.x0.shape[3], 4 * b.x0.shape[2]) for b in batches}


def buckets(**options):
    return BUCKETS | options


@shows("data.resolution", "data.sets.resolution")
def test_resolution(serve):
    assert shapes(serve()[1]) == {(32, 32)}
    assert shapes(serve(resolution=48)[1]) == {(48, 48)}
    assert shapes(serve(resolution=[48, 16])[1]) == {(48, 16)}


@shows("data.buckets", "data.sets.buckets")
def test_buckets(serve):
    assert shapes(serve()[1]) == {(32, 32)}
    assert shapes(serve(**buckets())[1]) == {(24, 40), (32, 32), (40, 24), (48, 16)}


@shows("data.bucket_min", "data.sets.bucket_min")
def test_bucket_min(serve):
    assert (48, 16) in shapes(serve(**buckets())[1])
    assert shapes(serve(**buckets(bucket_min=24))[1]) == {(24, 40), (32, 32), (40, 24)}


@shows("data.bucket_max", "data.sets.bucket_max")
def test_bucket_max(serve):
    assert (48, 16) in shapes(serve(**buckets())[1])
    assert max(max(size) for size in shapes(serve(**buckets(bucket_max=40))[1])) == 40


@shows("data.bucket_step", "data.sets.bucket_step")
def test_bucket_step(serve):
    assert (40, 24) in shapes(serve(**buckets())[1])
    assert all(side % 16 == 0 for size in shapes(serve(**buckets(bucket_step=16))[1]) for side in size)


@shows("data.bucket_upscale", "data.sets.bucket_upscale")
def test_bucket_upscale(serve):
    def sides(batches):
        return {(w, h) for w, h in shapes(batches) if w * h > 33 * 33}

    large = {"resolution": 64, "buckets": True, "bucket_step": 8}
    assert sides(serve(**large)[1]) == shapes(serve(**large)[1]), "all are enlarged to the area of 64 x 64"
    encoded, batches = serve(**large, bucket_upscale=False)
    assert (32, 32) in shapes(batches)
    for bucket in encoded.examples.buckets:
        for index in bucket.members:
            width, height = encoded.examples.items[index].size
            assert (bucket.size[0] <= width) & (bucket.size[1] <= height)


@shows("data.flip", "data.sets.flip")
def test_flip(serve):
    (plain, first), (mirrored, second) = serve(), serve(flip=True)
    assert plain.examples.buckets[0].mirrored is None
    rows = [
        torch.equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one.x0, other.x0, strict=True)
    ]
    assert 0.2 < np.mean(rows) < 0.8, "half of the images are others"
    bucket = mirrored.examples.buckets[0]
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one.x0, other.x0, strict=True):
            row = next(i for i, latent in enumerate(bucket.latents) if torch.equal(latent, a))
            assert torch.equal(b, a) or torch.equal(b, bucket.mirrored[row])


@shows("data.random_crop", "data.sets.random_crop")
def test_random_crop(serve):
    (plain, first), (cropped, second) = serve(24), serve(24, random_crop=True)
    assert shapes(first) == shapes(second)
    by_image: dict[int, list[torch.Tensor]] = {}
    for step, batch in enumerate(second):
        for index, latent in zip(cropped.examples.images_at(step, np.arange(4))[1], batch.x0, strict=True):
            by_image.setdefault(index, []).append(latent)
    assert plain.examples.images_at(5, np.arange(4)) == cropped.examples.images_at(5, np.arange(4))
    for index, latents in by_image.items():
        different = {tuple(latent.flatten().tolist()) for latent in latents}
        assert len(different) > 1 or cropped.examples.items[index].size == (33, 33), "another window each time"


@shows("data.repeats", "data.sets.repeats")
def test_repeats(serve):
    def epochs(encoded):
        return [encoded.examples.epoch(step) for step in range(13)]

    once, thrice = serve()[0], serve(repeats=3)[0]
    assert (len(once.examples), len(thrice.examples)) == (6, 18)
    assert epochs(once)[-1] == 12 * 4 // 6
    assert epochs(thrice)[-1] == 12 * 4 // 18
    orders = [[f.examples.images_at(s, np.arange(4))[1] for s in range(9)] for f in (once, thrice)]
    assert orders[0] != orders[1]


def test_repeats_weigh_sets_against_each_other(tmp_path):
    few, many = (save_mixed(tmp_path / name, [(32, 32)] * 2) for name in ("few", "many"))
    sets = [{"folder": str(few), "resolution": 32}, {"folder": str(many), "resolution": 32, "repeats": 3}]
    examples = encode(tmp_path, data={"folder": None, "sets": sets}).examples
    seen = [i for step in range(4) for i in examples.images_at(step, np.arange(4))[1]]
    assert [seen.count(i) for i in range(4)] == [2, 2, 6, 6]


@shows("data.masked_loss", "data.sets.masked_loss")
def test_masked_loss(serve, mixed):
    (mixed / "mask").mkdir()
    for file in sorted(mixed.glob("*.png")):
        with Image.open(file) as image:
            mask = Image.new("L", image.size, 255)
        mask.paste(0, (0, 0, mask.width, mask.height // 2))
        mask.save(mixed / "mask" / file.name)
    assert all(batch.mask is None for batch in serve()[1])
    for batch in serve(masked_loss=True, flip=True)[1]:
        assert batch.mask.shape == (4, 1, *batch.x0.shape[2:])
        assert (batch.mask[:, :, 0] == 0).all(), "the upper half does not count"
        assert (batch.mask[:, :, -1] == 1).all()


@shows("data.masks", "data.sets.masks")
def test_masks(serve, mixed, tmp_path):
    """From a folder of their own, and mirrored with their images."""
    for folder, left in ((mixed / "mask", 255), (tmp_path / "elsewhere", 0)):
        folder.mkdir()
        for file in sorted(mixed.glob("*.png")):
            with Image.open(file) as image:
                mask = Image.new("L", image.size, 255)
            mask.paste(left, (0, 0, mask.width // 2, mask.height))
            mask.save(folder / file.name)
    beside = serve(masked_loss=True)[1]
    assert all((batch.mask == 1).all() for batch in beside)
    encoded, stated = serve(masked_loss=True, masks=str(tmp_path / "elsewhere"), flip=True)
    bucket = encoded.examples.buckets[0]
    for batch in stated:
        for latent, mask in zip(batch.x0, batch.mask, strict=True):
            mirrored = any(torch.equal(latent, other) for other in bucket.mirrored)
            dark, light = (-1, 0) if mirrored else (0, -1)
            assert (mask[..., dark] == 0).all()
            assert (mask[..., light] == 1).all()


@shows("data.alpha_mask", "data.sets.alpha_mask")
def test_alpha_mask(serve, mixed):
    for file in sorted(mixed.glob("*.png")):
        image = Image.open(file).convert("RGBA")
        image.paste((0, 0, 0, 0), (0, 0, image.width, image.height // 2))
        image.save(file)
    assert all(batch.mask is None for batch in serve()[1])
    for batch in serve(alpha_mask=True)[1]:
        assert (batch.mask[:, :, 0] == 0).all()
        assert (batch.mask[:, :, -1] == 1).all()


@shows("data.cache", "data.cache_folder")
def test_cache(mixed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    plain = {"resolution": 32}
    assert [encode(mixed, data=plain).encoded for _ in range(2)] == [6, 6]
    assert [encode(mixed, data={**plain, "cache": True}).encoded for _ in range(2)] == [6, 0]
    assert list((tmp_path / "home" / ".cache" / "snrlab").glob("cache-*.safetensors"))
    elsewhere = {**plain, "cache": True, "cache_folder": str(tmp_path / "elsewhere")}
    assert [encode(mixed, data=elsewhere).encoded for _ in range(2)] == [6, 0]
    assert list((tmp_path / "elsewhere").glob("cache-*.safetensors"))


@shows("data.vae_batch_size")
def test_vae_batch_size(mixed):
    by_batch_size = {size: encode(mixed, data={"resolution": 32, "vae_batch_size": size}) for size in (1, 4)}
    assert encode(mixed, data={"resolution": 32}).batches == [6]
    assert by_batch_size[1].batches == [1] * 6
    assert by_batch_size[4].batches == [4, 2]
    for one, other in pairwise([*by_batch_size.values(), encode(mixed, data={"resolution": 32})]):
        assert torch.allclose(one.batch().x0, other.batch().x0, atol=1e-5)


@shows("data.kohya_cache")
def test_kohya_cache(mixed):
    """Their latents, scaled; what does not fit is encoded, and why is said."""
    shape = (4, 8, 8)
    for number, file in enumerate(sorted(mixed.glob("*.png"))):
        with Image.open(file) as image:
            width, height = image.size
        np.savez(
            mixed / f"{file.stem}_{width:04d}x{height:04d}_sd.npz",
            latents=np.full(shape, number + 1.0, dtype=np.float32),
            original_size=np.array([width, height] if number else [1, 2]),
            crop_ltrb=np.array([0, 0, 32, 32]),
        )
    plain, cached = (encode(mixed, data={"resolution": 32, "kohya_cache": chosen}) for chosen in (False, True))
    assert (plain.encoded, cached.encoded) == (6, 1)
    (bucket,) = cached.examples.buckets
    scale = model().vae.config.scaling_factor
    assert bucket.latents[1:, 0, 0, 0].tolist() == [scale * n for n in (2, 3, 4, 5, 6)]
    assert torch.allclose(bucket.latents[0], plain.examples.buckets[0].latents[0], atol=1e-5)
    assert "5 of 6 images have latents in kohya's caches, which do not say what VAE made them" in cached.messages
    assert "kohya's cache of 00.png is not used: it is of an image of 1x2, not 48x28" in cached.messages
    assert cache_file(mixed / "05.png", (100, 80), "sd") is not None
    flipped = encode(mixed, data={"resolution": 32, "kohya_cache": True, "flip": True})
    assert flipped.encoded == 12
    assert any("no latents of the mirror image" in text for text in flipped.messages)
