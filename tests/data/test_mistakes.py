"""What people who come from kohya get wrong about their data: told what was found and what to do, never trained on."""

import json
import shutil
import zipfile

import pytest
import tomlkit

import tiny
from imaging import captioned, picture
from snrlab.cli import main


def folder(place):
    return captioned(place / "cats", a="a cat", b="another cat")


def images_further_down(place):
    captioned(place / "cats" / "img" / "10_cat", a="one")
    return {"folder": "cats"}


def images_beside_kohya_folders(place):
    captioned(folder(place) / "10_cat", c="one")
    return {"folder": "cats"}


def class_folder_without_repeats(place):
    captioned(place / "data" / "10_cat", a="one")
    captioned(place / "data" / "dog", a="one")
    return {"folder": "data"}


def class_folder_of_zero_repeats(place):
    captioned(place / "data" / "0_cat", a="one")
    return {"folder": "data"}


def captions_with_another_extension(place):
    for file in folder(place).glob("*.txt"):
        file.rename(file.with_suffix(".caption"))
    return {"folder": "cats", "caption_extension": "txt"}


def two_captions_of_one_image(place):
    (folder(place) / "a.caption").write_text("cat, sitting")
    return {"folder": "cats"}


def captions_under_another_name(place):
    for name in "ab":
        (folder(place) / f"{name}.txt").unlink()
    captioned(place / "cats", cat_001="one").joinpath("cat_001.txt").rename(place / "cats" / "cat_0001.txt")
    return {"folder": "cats"}


def captions_named_after_the_whole_file(place):
    for file in folder(place).glob("*.txt"):
        file.rename(place / "cats" / f"{file.stem}.png.txt")
    return {"folder": "cats"}


def captions_under_another_name_hidden_by_class_tokens(place):
    captioned(place / "5_cat", a=None, b=None)
    (place / "5_cat" / "c.txt").write_text("one")
    return {"folder": "5_cat"}


def no_captions(place):
    captioned(place / "cats", a=None, b=None)
    return {"folder": "cats"}


def empty_caption(place):
    (folder(place) / "a.txt").write_text("")
    return {"folder": "cats"}


def blank_caption(place):
    (folder(place) / "a.txt").write_text(" \n\n")
    return {"folder": "cats"}


def caption_of_another_encoding(place):
    (folder(place) / "a.txt").write_bytes("une chaîne".encode("latin-1"))
    return {"folder": "cats"}


def caption_in_utf16(place):
    (folder(place) / "a.txt").write_bytes("a cat".encode("utf-16"))
    return {"folder": "cats"}


def two_images_share_a_caption(place):
    picture(folder(place) / "a.jpg")
    return {"folder": "cats"}


def empty_folder(place):
    (place / "cats").mkdir()
    return {"folder": "cats"}


def captions_only(place):
    for file in folder(place).glob("*.png"):
        file.unlink()
    return {"folder": "cats"}


def videos(place):
    (place / "cats").mkdir()
    (place / "cats" / "one.MP4").write_bytes(b"0")
    return {"folder": "cats"}


def phone_pictures(place):
    (place / "cats").mkdir()
    (place / "cats" / "one.HEIC").write_bytes(b"0")
    return {"folder": "cats"}


def archive(place):
    with zipfile.ZipFile(place / "cats.zip", "w") as file:
        file.write(folder(place) / "a.png")
    return {"folder": "cats.zip"}


def one_image_instead_of_its_folder(place):
    folder(place)
    return {"folder": "cats/a.png"}


def dataset_toml_as_folder(place):
    dataset(place, {"image_dir": str(folder(place))})
    return {"folder": "dataset.toml"}


def broken_image(place):
    (folder(place) / "a.png").write_bytes(b"<html>404 Not Found</html>")
    return {"folder": "cats"}


def empty_image(place):
    (folder(place) / "a.png").write_bytes(b"")
    return {"folder": "cats"}


def half_an_image(place):
    file = picture(folder(place) / "a.png", (200, 200))
    file.write_bytes(file.read_bytes()[:80])
    return {"folder": "cats"}


def metadata_of_absent_files(place):
    lines = [{"file_name": "a.png", "text": "one"}, {"file_name": "c.png", "text": "two"}]
    captioned(place / "cats", a=None)
    (place / "cats" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return {"folder": "cats"}


def dataset(place, *subsets, **options):
    (place / "dataset.toml").write_text(tomlkit.dumps({"datasets": [{**options, "subsets": list(subsets)}]}))
    return {"dataset_config": "dataset.toml"}


def wrong_image_dir(place):
    folder(place)
    return dataset(place, {"image_dir": "cat", "class_tokens": "cat"})


def image_dir_is_the_parent(place):
    captioned(place / "data" / "10_cat", a="one")
    return dataset(place, {"image_dir": "data"})


def unknown_key_of_the_toml(place):
    return dataset(place, {"image_dir": str(folder(place)), "shuffle_captions": True})


def two_kinds_of_subsets(place):
    return dataset(place, {"image_dir": str(folder(place))}, {"metadata_file": "meta.json"})


def zero_repeats(place):
    return dataset(place, {"image_dir": str(folder(place)), "num_repeats": 0})


def ratios_beyond_one(place):
    return {"sets": [{"folder": str(folder(place)), "ratio": 0.7}, {"folder": str(place / "cats"), "ratio": 0.6}]}


def one_ratio_of_two(place):
    return {"sets": [{"folder": str(folder(place)), "ratio": 0.7}, {"folder": str(place / "cats")}]}


def only_regularisation(place):
    return {"sets": [{"folder": str(folder(place)), "regularisation": True}]}


def bucket_options_without_buckets(place):
    folder(place)
    return {"folder": "cats", "bucket_max": 768}


def folder_and_sets(place):
    return {"folder": "cats", "sets": [{"folder": str(folder(place))}]}


def regularisation_folder_is_empty(place):
    folder(place)
    (place / "reg").mkdir()
    return {"folder": "cats", "regularisation": "reg"}


MISTAKES = {
    images_further_down: ("there is no image in this folder; they are further down", "so give ", "cats/img."),
    images_beside_kohya_folders: ("has images of its own and the kohya folder 10_cat", "move the images into a folder"),
    class_folder_without_repeats: ("dog has no repeats in its name", "rename it to 1_dog"),
    class_folder_of_zero_repeats: ("0 repeats leave its images out", "rename it to 1_cat"),
    captions_with_another_extension: (
        "2 of 2 images have no caption", "2 caption files are not used", 'set caption_extension = ".caption"',
    ),
    two_captions_of_one_image: ("a.png has a.caption and a.txt", 'state which to read, such as caption_extension'),
    captions_under_another_name: ("1 caption file is not used, cat_0001.txt", "name it cat_001.txt"),
    captions_named_after_the_whole_file: ("2 caption files are not used, a.png.txt", "name it a.txt"),
    captions_under_another_name_hidden_by_class_tokens: ("'cat' would be the caption of all", "Rename or remove them"),
    no_captions: ("2 of 2 images have no caption, a.png the first", "Put a .txt beside each", "data.caption ="),
    empty_caption: ("a.txt is empty", 'set caption = "" to train without one'),
    blank_caption: ("a.txt is empty", "write a caption"),
    caption_of_another_encoding: ("a.txt is not UTF-8 text (byte 0xee in line 1)", "save it as UTF-8"),
    caption_in_utf16: ("a.txt is UTF-16 text", "save it as UTF-8"),
    two_images_share_a_caption: ("a.jpg and a.png share one caption, a.txt", "rename one of the images"),
    empty_folder: ("there is no image in this folder, it is empty",),
    captions_only: ("there is no image in this folder", "a.txt, b.txt"),
    videos: ("there is no image in this folder", "videos (one.MP4)", "extract frames first"),
    phone_pictures: ("pictures that Pillow does not open (one.HEIC)", "convert them to .png first"),
    archive: ("this is a file, not a folder", "unpack it and give the folder"),
    one_image_instead_of_its_folder: ("this is an image, not a folder", "give the folder it is in"),
    dataset_toml_as_folder: ("this is a file, not a folder", "goes into data.dataset_config"),
    broken_image: ("a.png cannot be read", "replace it or take it out"),
    empty_image: ("a.png cannot be read: the file is empty", "replace it or take it out"),
    half_an_image: ("a.png", "truncated"),
    metadata_of_absent_files: ("names files that are not there, 1 of 2, c.png the first", "correct it"),
    wrong_image_dir: ("image_dir = 'cat': there is no such folder", "Did you mean 'cats'?"),
    image_dir_is_the_parent: ("there is no image in this folder", "so give", "data/10_cat"),
    unknown_key_of_the_toml: ("'shuffle_captions' is not known", "Did you mean 'shuffle_caption'?"),
    two_kinds_of_subsets: ("mixes subsets with metadata_file (fine-tuning) and without", "two [[datasets]]"),
    zero_repeats: ("num_repeats is 0", "it must be >= 1"),
    ratios_beyond_one: ("the ratios sum to 1.3", "must sum to 1"),
    one_ratio_of_two: ("has no ratio but others have", "give one to each or to none"),
    only_regularisation: ("all of them are regularisation", "nothing to learn from"),
    bucket_options_without_buckets: ("bucket_max is 768, which means nothing without buckets = true",),
    folder_and_sets: ("give either folder", "folder and sets"),
    regularisation_folder_is_empty: ("data.regularisation", "there is no image in this folder"),
}  # fmt: skip


@pytest.mark.parametrize("spoil", MISTAKES, ids=lambda f: f.__name__)
def test_nothing_is_trained(spoil, tmp_path, tiny_model, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tiny.run_dict(tiny_model, tmp_path)
    run["data"] = {"resolution": 16, **spoil(tmp_path)}
    run["train"]["batch_size"] = 1
    (tmp_path / "run.toml").write_text(tomlkit.dumps(run))
    monkeypatch.setattr("sys.argv", ["snrlab", "train", "run.toml"])
    with pytest.raises(SystemExit) as end:
        main()
    message = capsys.readouterr().err
    assert end.value.code == 2
    for words in MISTAKES[spoil]:
        assert words in message
    assert not (tmp_path / "runs").exists()


ACCEPTED = {
    "the kohya folder itself": ("10_cat", "10_cat is read as 10 repeats"),
    "image extensions in capitals": ("capitals", "2 captions in .txt"),
    "captions of both kinds, one an image": ("both", "1 caption in .txt, 1 caption in .caption"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_no_mistake_here_is_said(name, tmp_path, capsys, monkeypatch):
    captioned(tmp_path / "10_cat", a="one", b="two")
    shutil.copytree(tmp_path / "10_cat", tmp_path / "capitals")
    for file in (tmp_path / "capitals").iterdir():
        file.rename(file.with_suffix(file.suffix.upper()))
    shutil.copytree(tmp_path / "10_cat", tmp_path / "both")
    (tmp_path / "both" / "b.txt").rename(tmp_path / "both" / "b.caption")
    source, message = ACCEPTED[name]
    monkeypatch.setattr("sys.argv", ["snrlab", "data", str(tmp_path / source)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert message in capsys.readouterr().out
