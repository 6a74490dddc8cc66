"""Images and captions encoded once, kept, and served: what is fresh, what is found again, what an edit changes."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import forked
import tiny
import tiny_families
from encoding import BUCKETS, CPU, encode, encode_and_die, model, save_mixed
from snrlab import UserError
from snrlab.data.images.pixels import scaled
from snrlab.models.components import Components
from snrlab.models.denoise import denoise
from snrlab.models.encoding import cache
from snrlab.models.encoding.encode import encode_captions, encode_pixels
from snrlab.train.inputs import caption_embeddings
from snrlab.train.step.batch import Batch

pytestmark = pytest.mark.numeric


@pytest.fixture
def mixed(tmp_path) -> Path:
    return save_mixed(tmp_path / "mixed")


def served(encoded, steps=8) -> list[Batch]:
    return [encoded.batch(step) for step in range(steps)]


def same(a, b) -> bool:
    return all(
        torch.equal(one.x0, other.x0) and torch.equal(one.text.hidden, other.text.hidden)
        for one, other in zip(a, b, strict=True)
    )


def test_every_image_comes_in_its_own_size(mixed):
    encoded = encode(mixed, data=BUCKETS)
    examples = encoded.examples
    assert [b.size for b in examples.buckets] == [(24, 40), (32, 32), (40, 24), (48, 16)]
    assert sorted(i for b in examples.buckets for i in b.members) == list(range(6))
    for step in range(12):
        batch = encoded.batch(step)
        _, indices = examples.images_at(step, np.arange(4))
        bucket = examples.buckets[examples.order.bucket(step)]
        assert batch.x0.shape == (4, 4, bucket.size[1] // 4, bucket.size[0] // 4)
        for row, index in enumerate(indices):
            place = list(bucket.members).index(index)
            assert torch.equal(batch.x0[row], bucket.latents[place])
            wanted = encode_captions(model(), [f"picture {index}, colour"]).hidden[0]
            assert torch.allclose(batch.text.hidden[row], wanted, atol=1e-6)


def test_latents_are_those_of_the_cut_pixels(mixed):
    encoded = encode(mixed, data={"resolution": 16})
    (bucket,) = encoded.examples.buckets
    for index, item in enumerate(encoded.examples.items):
        with Image.open(item.file) as image:
            side = min(image.size)
            left, top = ((s - side) / 2 for s in image.size)
            box = (left, top, left + side, top + side)
            pixels = np.asarray(image.resize((16, 16), Image.Resampling.LANCZOS, box=box))
        assert torch.allclose(bucket.latents[index], encode_pixels(model(), pixels[None], CPU)[0], atol=1e-5)


def test_batch_4_equals_2_times_2(mixed):
    data = {**BUCKETS, "flip": True, "shuffle_tags": True, "caption_dropout": 0.3}
    whole = encode(mixed, data=data)
    parts = encode(mixed, data=data, train={"batch_size": 2, "gradient_accumulation": 2})
    for step in range(6):
        one = whole.batch(step)
        halves = [parts.examples.batch(model(), step, np.arange(s, s + 2), CPU) for s in (0, 2)]
        assert torch.equal(one.x0, torch.cat([half.x0 for half in halves]))
        hidden = torch.cat([half.text.hidden for half in halves])
        assert torch.allclose(one.text.hidden, hidden, atol=1e-6)


def test_a_cached_run_is_the_same_run(mixed, tmp_path):
    data = {**BUCKETS, "flip": True, "cache": True, "cache_folder": str(tmp_path / "cache")}
    plain = encode(mixed, data={**BUCKETS, "flip": True})
    first, second = encode(mixed, data=data), encode(mixed, data=data)
    assert first.encoded == plain.encoded == 12
    assert second.encoded == 0
    assert f"6 of 6 images were in the cache {tmp_path / 'cache'}" in second.messages
    assert any(text.startswith("encoded 6 images in") and text.endswith("a second") for text in first.messages)
    assert any(text.startswith("encoded 7 captions in") for text in first.messages)
    assert not any(text.startswith("encoded") for text in second.messages)
    assert same(served(plain), served(first))
    assert same(served(first), served(second))


@pytest.mark.parametrize("touch", ["newer", "same time"])
def test_an_edited_image_is_encoded_again(mixed, tmp_path, touch):
    """By its content: an editor that keeps the file's time and size changes nothing about that."""
    data = {**BUCKETS, "cache": True, "cache_folder": str(tmp_path / "cache")}
    encode(mixed, data=data)
    edited = mixed / "02.png"
    time = edited.stat().st_mtime_ns
    with Image.open(edited) as image:
        image.load()
    image.putpixel((20, 10), (1, 2, 3))
    image.save(edited)
    if touch == "same time":
        os.utime(edited, ns=(time, time))
    again, fresh = encode(mixed, data=data), encode(mixed, data=BUCKETS)
    assert again.encoded == 1
    assert any(text.startswith("5 of 6 images") for text in again.messages)
    assert same(served(again), served(fresh))


def test_a_renamed_image_is_found_again(mixed, tmp_path):
    data = {**BUCKETS, "cache": True, "cache_folder": str(tmp_path / "cache")}
    encode(mixed, data=data)
    for suffix in ("png", "txt"):
        (mixed / f"02.{suffix}").rename(mixed / f"zz.{suffix}")
    assert encode(mixed, data=data).encoded == 0


@pytest.mark.parametrize(
    ("change", "encoded"),
    [({"flip": True}, 6), ({"resolution": 40}, 6), ({"bucket_max": 40}, 1), ({"buckets": False}, 6)],
    ids=str,
)
def test_what_another_option_changes_is_encoded(mixed, tmp_path, change, encoded):
    data = {**BUCKETS, "cache": True, "cache_folder": str(tmp_path / "cache")}
    encode(mixed, data=data)
    changed = {k: v for k, v in {**data, **change}.items() if change.get("buckets", True) or "bucket_" not in k}
    result = encode(mixed, data=changed)
    assert result.encoded == encoded
    plain = {k: v for k, v in changed.items() if "cache" not in k}
    assert same(served(result), served(encode(mixed, data=plain)))


def test_other_weights_are_another_cache(mixed, tmp_path):
    data = {**BUCKETS, "cache": True, "cache_folder": str(tmp_path / "cache")}
    encode(mixed, data=data)
    other = tiny.components()
    other.freeze()
    with torch.no_grad():
        other.vae.encoder.conv_in.bias[0] += 0.01
    encoded = encode(mixed, other, data=data)
    assert encoded.encoded == 6
    assert not any("captions" in text for text in encoded.messages), "the text encoder is the same"
    with torch.no_grad():
        other.text_encoder.get_input_embeddings().weight[5] += 0.01
    assert any(text.startswith("encoded 7 captions") for text in encode(mixed, other, data=data).messages)


def test_another_rule_of_encoding_is_another_cache(mixed, tmp_path):
    data = {**BUCKETS, "cache": True, "cache_folder": str(tmp_path / "cache")}
    encode(mixed, data=data)
    rule = replace(model().encode_rule, max_tokens=150)
    encoded = encode(mixed, replace(model(), encode_rule=rule), data=data)
    assert any(text.startswith("encoded 7 captions") for text in encoded.messages)


def test_an_interrupted_cache_goes_on_where_it_stopped(mixed, tmp_path):
    folder = tmp_path / "cache"
    process = forked.server().Process(target=encode_and_die, args=(mixed, folder))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert len(list(folder.glob("*.safetensors"))) == 3
    assert len(list(folder.glob("*.tmp"))) == 1, "it was killed while it wrote the fourth"
    alone = {**BUCKETS, "vae_batch_size": 1}  # as it did: what is convolved together may count in the last digits
    data = {**alone, "cache": True, "cache_folder": str(folder)}
    encoded = encode(mixed, data=data)
    assert encoded.encoded == 3
    assert any(text.startswith("3 of 6 images") for text in encoded.messages)
    assert same(served(encoded), served(encode(mixed, data=alone)))
    assert encode(mixed, data=data).encoded == 0


@pytest.mark.parametrize("written", [1, 4], ids=["among images", "among captions"])
def test_an_interruption_changes_no_number(written, tmp_path, monkeypatch):
    """Last digits depend on what is computed together, so what belongs together is kept together or not at all."""
    pictures = save_mixed(tmp_path / "alike", ((32, 32),) * 5)
    monkeypatch.setattr(caption_embeddings, "ENCODE_BATCH", 2)
    monkeypatch.setattr(cache, "SHARD_SECONDS", 0.0)

    def encoded(folder):
        captions = []
        hook = model().text_encoder.register_forward_pre_hook(lambda _, inputs: captions.append(inputs[0].tolist()))
        data = {"resolution": 32, "vae_batch_size": 2, "cache": True, "cache_folder": str(tmp_path / folder)}
        try:
            return encode(pictures, data=data).batches, captions
        finally:
            hook.remove()

    (images, captions), fsync, calls = encoded("whole"), os.fsync, []

    def stop(handle):
        calls.append(handle)
        if len(calls) > written:
            raise KeyboardInterrupt
        fsync(handle)

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        encoded("stopped")
    monkeypatch.setattr(os, "fsync", fsync)
    assert (len(images), len(captions)) == (3, 3)
    assert encoded("stopped") == (images[written:], captions[max(0, written - 3) :])


def test_a_damaged_shard_is_made_again(mixed, tmp_path):
    data = {**BUCKETS, "cache": True, "cache_folder": str(tmp_path / "cache")}
    encode(mixed, data=data)
    for shard in (tmp_path / "cache").iterdir():
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(content)
    encoded = encode(mixed, data=data)
    assert any("is damaged and is made again" in text for text in encoded.messages)
    assert encoded.encoded > 0
    assert same(served(encoded), served(encode(mixed, data=BUCKETS)))
    assert encode(mixed, data=data).encoded == 0


def test_equal_captions_are_encoded_once(mixed):
    for file in mixed.glob("*.txt"):
        file.write_text("one for all")
    encoded = encode(mixed)
    assert any(text.startswith("encoded 2 captions") for text in encoded.messages), "the empty one too"
    assert encoded.examples.text.text.hidden.shape[0] == 2


def test_an_autoencoder_that_overflows_is_named(mixed, tmp_path):
    broken = tiny.components()
    broken.freeze()
    with torch.no_grad():
        broken.vae.quant_conv.weight[0] = float("inf")
    with pytest.raises(UserError, match=r"latents of 0\d.png are not finite"):
        encode(mixed, broken, data={"cache": True, "cache_folder": str(tmp_path / "cache")})
    assert not list((tmp_path / "cache").glob("*.safetensors")), "nothing of it is kept"


def test_images_that_fit_no_bucket_are_named(tmp_path):
    save_mixed(tmp_path / "two", ((64, 64), (64, 24)))
    with pytest.raises(UserError, match=r"01\.png: the image is 64x24, and without enlarging it no bucket"):
        encode(tmp_path / "two", data={"resolution": 64, "buckets": True, "bucket_step": 32, "bucket_upscale": False})


def test_a_cache_with_nothing_to_keep(mixed):
    with pytest.raises(UserError, match=r"data\.cache is set, but with random_crop every image"):
        encode(mixed, data={"cache": True, "random_crop": True})


def test_a_black_mask_is_named(mixed):
    (mixed / "mask").mkdir()
    for number, file in enumerate(sorted(mixed.glob("*.png"))):
        Image.new("L", Image.open(file).size, 0 if number == 3 else 255).save(mixed / "mask" / file.name)
    with pytest.raises(UserError, match=r"the mask of 03\.png is black"):
        encode(mixed, data={"masked_loss": True})


def test_random_crops_are_functions_of_seed_step_and_slot(mixed):
    data = {**BUCKETS, "random_crop": True, "flip": True}
    encoded, again = encode(mixed, data=data), encode(mixed, data=data)
    assert encoded.encoded == 0, "nothing can be encoded beforehand"
    assert encoded.examples.needs_autoencoder
    assert same(served(encoded), list(reversed([again.batch(step) for step in reversed(range(8))])))
    assert not same(served(encoded, 2), served(encode(mixed, data=data, seed=4), 2))
    bucket = encoded.examples.order.bucket(0)
    later = next(s for s in range(1, 20) if encoded.examples.order.bucket(s) == bucket)
    assert not torch.equal(encoded.batch(0).x0, encoded.batch(later).x0)


LARGE = {"resolution": 64, "buckets": True, "bucket_step": 16, "flip": True}


@pytest.fixture(scope="module")
def sdxl() -> Components:
    made = tiny_families.family("sdxl")
    made.freeze()
    return made


@pytest.mark.parametrize("random_crop", [False, True], ids=["middle", "anywhere"])
def test_sdxl_is_told_the_size_and_the_crop(mixed, sdxl, random_crop):
    encoded = encode(mixed, sdxl, data={**LARGE, "random_crop": random_crop})
    lefts = set()
    for step in range(16):
        batch = encoded.batch(step, components=sdxl)
        _, indices = encoded.examples.images_at(step, np.arange(4))
        bucket = encoded.examples.buckets[encoded.examples.order.bucket(step)]
        for index, facts, latents in zip(indices, batch.sizes.int().tolist(), batch.x0, strict=True):
            item, place = encoded.examples.items[index], bucket.fits[list(bucket.members).index(index)]
            height, width, top, left, target_height, target_width = facts
            assert (width, height) == item.size
            assert (target_width, target_height) == bucket.size
            whole = scaled(item, place).pixels
            seen = [
                whole[top : top + target_height, left : left + target_width],
                whole[:, ::-1][top : top + target_height, left : left + target_width, :],
            ]
            lefts.add((index, left))
            made = encode_pixels(sdxl, np.stack(seen), CPU)
            assert any(torch.allclose(latents, known, atol=1e-4) for known in made)
    assert (len(lefts) > 12) == random_crop
    output = denoise(sdxl, batch.x0, torch.zeros(4, dtype=torch.long), batch.text, batch.sizes)
    assert output.shape == batch.x0.shape
    assert encode(mixed, data=BUCKETS).batch().sizes is None, "other families are told nothing"


def test_both_text_encoders_of_sdxl_are_kept(mixed, sdxl, tmp_path):
    data = {**LARGE, "cache": True, "cache_folder": str(tmp_path / "cache")}
    first, second = (encode(mixed, sdxl, data=data) for _ in range(2))
    assert second.encoded == 0
    assert not any("captions" in text for text in second.messages)
    for step in range(3):
        one, other = (encoded.batch(step, components=sdxl).text for encoded in (first, second))
        assert torch.equal(one.hidden, other.hidden)
        assert torch.equal(one.pooled, other.pooled)
