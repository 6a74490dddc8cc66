"""`snrlab data`: what it says of folders, run files and dataset TOMLs."""

import pytest
import tomlkit

from imaging import captioned, picture
from snrlab.cli import main


@pytest.fixture
def snrlab(tmp_path, capsys, monkeypatch):
    """The command: (exit code, output, messages)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["snrlab", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        streams = capsys.readouterr()
        return end.value.code, streams.out, streams.err

    return run


def photos(tmp_path):
    captioned(tmp_path / "photos", a="one", b="two, three")
    picture(tmp_path / "photos" / "a.png", (768, 512))
    picture(tmp_path / "photos" / "b.png", (512, 768))
    return tmp_path / "photos"


def test_a_folder(tmp_path, snrlab):
    photos(tmp_path)
    code, out, err = snrlab("data", "photos")
    assert (code, err) == (0, "")
    assert "photos: 2 images, 2 captions in .txt, 2 sizes: 768x512 (1), 512x768 (1)" in out
    assert "512x512                 2                  2" in out
    assert "a.png: 'one'" in out
    assert "cropping cuts off 33% of the pictures; buckets = true keeps their aspect ratio" in out


def test_a_folder_with_buckets(tmp_path, snrlab):
    photos(tmp_path)
    _, out, _ = snrlab("data", "photos", "--set", "data.buckets=true")
    assert "384x640                 1                  1\n640x384                 1                  1" in out
    assert "cropping" not in out


def run_file(tmp_path, **data):
    content = {
        "model": {"random": "small"}, "data": {"folder": "photos", **data},
        "train": {"batch_size": 4, "gradient_accumulation": 2, "steps": 100}, "validation": {"images": 1},
    }  # fmt: skip
    (tmp_path / "run.toml").write_text(tomlkit.dumps(content))


def test_a_run_file_has_the_arithmetic_of_steps(tmp_path, snrlab):
    photos(tmp_path)
    run_file(tmp_path, repeats=16)
    _, out, _ = snrlab("data", "run.toml")
    assert "1 of them are held back for validation" in out
    assert "16 pictures an epoch / (batch 4 x accumulation 2) = 2 steps an epoch; 100 steps = 50 epochs." in out
    run_file(tmp_path, repeats=4)
    assert "A step takes more pictures than there are, so some more than once." in snrlab("data", "run.toml")[1]
    code, out, err = snrlab("data", "run.toml", "--set", "train.batch_size=5")
    assert code == 2
    assert "there are only 4 images to train on" in err, "as training says it"
    assert "size trained at" in out, "after what there is"
    assert "= 4 steps an epoch" in snrlab("data", "run.toml", "--set", "data.repeats=32")[1]


def test_regularisation_and_shares(tmp_path, snrlab):
    photos(tmp_path)
    captioned(tmp_path / "class", x="x", y="y", z="z")
    run_file(tmp_path, regularisation="class", prior_loss_weight=0.5)
    _, out, _ = snrlab("data", "run.toml")
    assert "class: 1 image x 1 = 1 an epoch (50%, regularisation, loss x 0.5)" in out
    assert "2 of 3 regularisation images are not used" in out


def test_a_dataset_toml(tmp_path, snrlab):
    photos(tmp_path)
    (tmp_path / "d.toml").write_text("[[datasets]]\nresolution = 256\n[[datasets.subsets]]\nimage_dir = 'photos'\n")
    code, out, _ = snrlab("data", "d.toml")
    assert code == 0
    assert "256x256                 2                  2" in out


def test_what_is_wrong_ends_with_exit_code_2(tmp_path, snrlab):
    photos(tmp_path)
    (tmp_path / "photos" / "b.txt").unlink()
    code, _, err = snrlab("data", "photos")
    assert code == 2
    assert "1 of 2 images have no caption, b.png the first" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train_data_dir = 'photos'\n",
            "is a kohya training config; give its dataset TOML or its folder of images, photos",
        ),
        ("[args]\ndataset_config = 'd.toml'\n", "is a kohya training config"),
        ("[[dataset]]\n", "is neither a run file, which has [data], nor a dataset TOML"),
        ("[[datasets]\n", "cannot be read: "),
    ],
    ids=lambda v: "",
)
def test_other_files(tmp_path, snrlab, text, message):
    (tmp_path / "other.toml").write_text(text)
    code, _, err = snrlab("data", "other.toml")
    assert code == 2
    assert message in err


def test_only_data_can_be_set_for_a_folder(tmp_path, snrlab):
    photos(tmp_path)
    assert (
        "only fields of [data] can be set without a run file" in snrlab("data", "photos", "--set", "train.steps=3")[2]
    )
    assert "Did you mean 'buckets'" in snrlab("data", "photos", "--set", "data.bucket=true")[2]
