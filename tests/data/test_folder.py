import numpy as np
import pytest
from PIL import Image

import tiny
from snrlab import UserError
from snrlab.config.sections.data import DataConfig
from snrlab.data.dataset import load_items
from snrlab.data.image_folder import folder_summary, scan
from snrlab.data.images.pixels import decode, load_pixels


def decoded_size(path):
    return decode(path).size


def test_counts_and_captions(tmp_path):
    tiny.save_pictures(tmp_path, 3)
    (tmp_path / "02.txt").rename(tmp_path / "02.caption")
    scanned = scan(tmp_path)
    assert [i.captions for i in scanned.images] == [(f"rectangle {n}, colour",) for n in range(3)]
    assert "3 images, 2 captions in .txt, 1 caption in .caption, 1 size: 24x20 (3)" in folder_summary(scanned.images)
    assert scanned.problems(None) == []


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


def test_exif_behind_the_picture(tmp_path):
    image = Image.new("RGB", (32, 16))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    data = (tmp_path / "a.png").read_bytes()
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4])
    (tmp_path / "a.png").write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
    assert scan(tmp_path).images[0].size == (16, 32) == decoded_size(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tiff"])
def test_exif_rotation_of_other_formats(tmp_path, suffix):
    image = Image.new("RGB", (32, 16))
    exif = image.getexif()
    exif[0x0112] = 8
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    assert scan(tmp_path).images[0].size == (16, 32) == decoded_size(tmp_path / f"a.{suffix}")


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
    (tmp_path / "half.png").write_bytes(data[:20])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "01.txt").write_bytes(b"\xff\xfe\x00bad")
    problems = "\n".join(scan(tmp_path).problems(None))
    for name in ("broken.png", "half.png", "empty.jpg", "01.txt"):
        assert name in problems


def test_missing_captions(tmp_path):
    tiny.save_pictures(tmp_path, 3)
    (tmp_path / "01.txt").rename(tmp_path / "other.txt")
    (problem,) = scan(tmp_path).problems(None)
    assert "1 of 3 images have no caption, 01.png the first" in problem
    assert "1 caption file is not used, other.txt" in problem
    assert scan(tmp_path).problems("a picture") == []
    items, _ = load_items(DataConfig(folder=str(tmp_path), resolution=16, caption="a picture"), 0)
    assert items[1].captions == ("a picture",)


def test_limit_is_chosen_by_the_seed(tmp_path):
    tiny.save_pictures(tmp_path, 6)
    config = DataConfig(folder=str(tmp_path), resolution=16, limit=3)
    first, again, other = ([i.name for i in load_items(config, seed)[0]] for seed in (0, 0, 5))
    assert first == again
    assert len(first) == 3
    assert first != other


def test_shipped_pictures_come_as_they_are():
    items, _ = load_items(DataConfig(shipped="ink", resolution=32, limit=4), 0)
    assert [(i.size, i.pixels.shape, i.part.resolution) for i in items] == [((64, 64), (64, 64, 3), (32, 32))] * 4


def test_unreadable_folders(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        scan(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file, not a folder"):
        scan(tmp_path / "file")
    assert "there is no image" in scan(tmp_path).problems(None)[0]


@pytest.mark.parametrize(
    ("lines", "captions"),
    [
        ("join", ("one, two",)),
        ("first", ("one,",)),
        ("alternatives", ("one,", "two")),
    ],
)
def test_captions_of_several_lines(tmp_path, lines, captions):
    tiny.save_pictures(tmp_path, 1)
    (tmp_path / "00.txt").write_bytes(b"\xef\xbb\xbf one,\r\n\r\n  two \n")
    assert scan(tmp_path, lines=lines).images[0].captions == captions


def test_accents_match_however_they_are_written(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "caf\u00e9.png")
    (tmp_path / "cafe\u0301.txt").write_text("one")
    assert scan(tmp_path).images[0].captions == ("one",)


def test_a_stated_extension_is_the_only_one(tmp_path):
    tiny.save_pictures(tmp_path, 2)
    for name in ("00", "01"):
        (tmp_path / f"{name}.caption").write_text("other")
    assert [i.captions for i in scan(tmp_path, extension=".caption").images] == [("other",)] * 2
    assert "01.png has 01.caption and 01.txt" in "".join(scan(tmp_path).problems(None))


def test_only_headers_are_read(tmp_path):
    """A folder of thousands is looked through at once: of a picture that lacks its pixels the size is still known."""
    tiny.save_pictures(tmp_path, 1, size=64)
    data = (tmp_path / "00.png").read_bytes()
    (tmp_path / "00.png").write_bytes(data[:60])
    assert scan(tmp_path).images[0].size == (68, 64)
