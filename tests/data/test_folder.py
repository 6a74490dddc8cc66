import numpy as np
import pytest
from PIL import Image

import tiny
from snrlab import UserError
from snrlab.config.data import DataConfig
from snrlab.data.examples import load_examples
from snrlab.data.folder import load_pixels, scan


def test_counts_and_captions(tmp_path):
    tiny.save_pictures(tmp_path, 3)
    (tmp_path / "02.txt").rename(tmp_path / "02.caption")
    found = scan(tmp_path)
    assert [i.caption for i in found.images] == [f"rectangle {n}, colour" for n in range(3)]
    assert "3 images, 2 captions in .txt, 1 captions in .caption; 24x20 (3)" in found.summary()
    assert found.problems(None) == []


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff", "JPG"])
def test_any_format(tmp_path, suffix):
    Image.new("RGB", (32, 16), "red").save(tmp_path / f"a.{suffix}")
    assert scan(tmp_path).images[0].size == (32, 16)
    assert load_pixels(tmp_path / f"a.{suffix}", 16).shape == (16, 16, 3)


def test_exif_rotation(tmp_path):
    image = Image.new("RGB", (32, 16), "white")
    image.paste("black", (0, 0, 8, 16))
    exif = image.getexif()
    exif[0x0112] = 6  # to be shown turned a quarter clockwise
    image.save(tmp_path / "a.png", exif=exif)
    assert scan(tmp_path).images[0].size == (16, 32)
    pixels = load_pixels(tmp_path / "a.png", 16)
    assert pixels[-1].min() > 200, "the black side is at the top now, cropped from the square's bottom"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_white(tmp_path, mode):
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 0)).convert(mode)
    image.save(tmp_path / "a.png", **({"transparency": image.getpixel((0, 0))} if mode == "P" else {}))
    assert (load_pixels(tmp_path / "a.png", 16) == 255).all()


def test_sixteen_bit_and_grey(tmp_path):
    Image.fromarray(np.full((16, 16), 40000, dtype=np.uint16)).save(tmp_path / "a.png")
    Image.new("L", (16, 16), 128).save(tmp_path / "b.png")
    assert load_pixels(tmp_path / "b.png", 16)[0, 0].tolist() == [128, 128, 128]
    grey = load_pixels(tmp_path / "a.png", 16)[0, 0]
    assert abs(int(grey[0]) - 156) <= 1, "sixteen bits are scaled, not clipped"


def test_broken_files_are_named(tmp_path):
    tiny.save_pictures(tmp_path, 2)
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    data = (tmp_path / "00.png").read_bytes()
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "01.txt").write_bytes(b"\xff\xfe\x00bad")
    problems = "\n".join(scan(tmp_path).problems(None))
    for name in ("broken.png", "half.png", "empty.jpg", "01.png"):
        assert name in problems


def test_missing_captions(tmp_path):
    tiny.save_pictures(tmp_path, 3)
    (tmp_path / "01.txt").rename(tmp_path / "other.txt")
    (problem,) = scan(tmp_path).problems(None)
    assert "1 of 3 images have no caption, 01.png the first" in problem
    assert "1 caption files match no image, other.txt" in problem
    assert scan(tmp_path).problems("a picture") == []
    examples, _ = load_examples(DataConfig(folder=str(tmp_path), resolution=16, caption="a picture"), 0)
    assert examples.captions[1] == "a picture"


def test_limit_is_chosen_by_the_seed(tmp_path):
    tiny.save_pictures(tmp_path, 6)
    config = DataConfig(folder=str(tmp_path), resolution=16, limit=3)
    first, again, other = (load_examples(config, seed)[0].names for seed in (0, 0, 5))
    assert first == again
    assert len(first) == 3
    assert first != other


def test_shipped_at_another_resolution():
    examples, _ = load_examples(DataConfig(shipped="ink", resolution=32, limit=4), 0)
    assert examples.pixels.shape == (4, 32, 32, 3)


def test_unreadable_folders(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        scan(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file, not a folder"):
        scan(tmp_path / "file")
    assert "there is no image" in scan(tmp_path).problems(None)[0]
