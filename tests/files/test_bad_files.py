"""Whatever a file holds, every reader ends soon, in a result or one clear message: never a traceback, never a hang.

READERS is the table; the last test finds every module that opens a file and demands that it is in it, or says why not.
"""

import json
import os
import re
import struct
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snrlab.cli.training.data import _read_tables as data_content
from snrlab.config.load import read_run
from snrlab.config.prompts import read_lines
from snrlab.config.sections.data import DataConfig
from snrlab.core import scheduler_config
from snrlab.core.errors import UserError
from snrlab.core.weights import curve
from snrlab.data.caption_metadata import read_fine_tuning, read_jsonl
from snrlab.data.captions.caption_files import read_caption
from snrlab.data.images.image_file import shown_size
from snrlab.data.kohya.dataset_toml import read_datasets
from snrlab.files.text import read_json_list
from snrlab.lab.cite import cite
from snrlab.lab.comparison.compare import compare
from snrlab.lab.explain import explain
from snrlab.model_files.header import metadata_of, read_header
from snrlab.model_files.inspection.inspection import inspect_file
from snrlab.model_files.model_facts import read_model_json
from snrlab.model_files.recognise import recognise
from snrlab.models.encoding.kohya_cache import UnusableError
from snrlab.models.encoding.kohya_cache import read_kohya_latents as read_kohya_cache
from snrlab.study.study_file import read_study
from snrlab.study.study_folder import StudyFolder

SRC = Path(__file__).parent.parent.parent / "src" / "snrlab"
CONFIGURATIONS = (".toml", ".json", ".safetensors", "")


def datasets(file):
    read_datasets(file, DataConfig(folder="x"))


def kohya_cache(file):
    image = file.with_name("image.png")
    image.touch()
    os.utime(image, (0, 0))
    read_kohya_cache(file, image, (64, 64), (4, 8, 8))


def folder_json(file):
    target = file.parent / "model_index.json"
    if target != file:
        target.unlink(missing_ok=True)
        target.symlink_to(file)
    read_model_json(file.parent, "model_index.json")


def study_results(file):
    target = file.parent / "results.jsonl"
    if target != file:
        target.unlink(missing_ok=True)
        target.symlink_to(file)
    StudyFolder(file.parent).read_results()


def whole_header(file):
    header = read_header(file)
    recognise(header)
    metadata_of(header, "snrlab.config")


def weights(file):
    inspect_file(file, norms=True, hashes=True)


# by name: (the reader, the endings that it takes, the modules whose files it opens)
READERS = {
    "explain": (explain, CONFIGURATIONS, ["files/text.py", "peers/settings_reader.py"]),
    "compare": (lambda file: compare([str(file), "plain"]), (".toml",), []),
    "cite": (lambda file: cite(str(file)), (".safetensors",), []),
    "inspect": (weights, (".safetensors", ""), ["model_files/tensors.py", "model_files/inspection/inspection.py"]),
    "checkpoint": (whole_header, (".safetensors", ""), ["model_files/header.py"]),
    "list of pictures or prompts": (read_json_list, (".json",), []),
    "run file": (read_run, (".toml",), ["config/load.py"]),
    "study file": (read_study, (".toml",), []),
    "results of a study": (study_results, (".jsonl",), ["study/study_folder.py"]),
    "dataset TOML": (datasets, (".toml", ".json"), ["data/kohya/dataset_toml.py"]),
    "snrlab data": (data_content, (".toml", ".json"), ["cli/training/data.py"]),
    "metadata.jsonl": (read_jsonl, (".jsonl",), ["data/caption_metadata.py"]),
    "fine-tuning metadata": (
        lambda file: read_fine_tuning(file, Path(), ", ", wildcard=False), (".json", ".jsonl"), []),
    "caption": (lambda file: read_caption(file, "join"), (".txt",), ["data/captions/caption_files.py"]),
    "prompts": (read_lines, (".txt",), ["config/prompts.py"]),
    "curve": (lambda file: curve.parse_curve(f"@{file}"), (".csv",), ["core/weights/curve.py"]),
    "scheduler config": (
        lambda file: scheduler_config.parse_scheduler_config(str(file)), (".json",), ["core/scheduler_config.py"]),
    "model folder": (folder_json, (".json",), ["model_files/model_facts.py"]),
    "image": (shown_size, (".png", ".jpg", ".tif"), ["data/images/image_file.py"]),
    "kohya's latents": (kohya_cache, (".npz",), ["models/encoding/kohya_cache.py"]),
}  # fmt: skip
# modules that open files of another kind, and why they are not in the table
OTHERS = {
    "folder of a study and its cells": ("study/study.py", "study/results.py", "study/local.py"),
    "run folder": ("lab/report_parts/contents.py", "lab/report_parts/sample_table.py", "lab/card.py",
                   "lab/run_comparison/run_record.py",
                   "runs/sessions.py", "models/storage/save_folder.py",
                   "models/storage/safetensors_file.py"),
    "a file that ships": ("core/registries/papers.py", "lab/asset_files.py", "lab/profile.py",
                          "model_files/families/__init__.py",
                          "evaluate/style_classifier/__init__.py",
                          "models/small/build.py", "data/emoji/__init__.py",
                          "models/clip/__init__.py",
                          "config/presets.py", "config/option_tables/kohya.py", "config/option_tables/onetrainer.py"),
    "read after its header": ("models/lora/lora_file.py", "models/networks.py",
                              "model_files/metadata/kohya_metadata.py"),
    "a decoded picture": ("data/images/pixels.py",),
    "our own cache, with a checksum": ("models/encoding/cache.py",),
    "weights that the user names for judging": ("evaluate/features.py",),
    "init": ("init/run_file.py", "init/trigger_word.py", "model_files/base_model.py"),
    "the system": ("cli/machine/graphics_card.py", "cli/browser.py", "installation.py"),
    "only writes": ("files/writing.py",),
    "our own text": ("peers/run_file_writer.py", "cli/exchange/obstacles.py"),
    "text out of a header": ("cli/analysis/inspection_text.py", "peers/kohya/option_texts.py",
                             "models/storage/save_single_file.py"),
}  # fmt: skip


def message_of(action, file):
    """What the reader says, None where it reads the file; anything but its own errors fails the test."""
    try:
        action(file)
    except (UserError, UnusableError) as mistake:
        text = str(mistake)
        assert 0 < len(text) < 3000
        return text
    return None


CASES = [(name, ending) for name, (_, endings, _) in READERS.items() for ending in endings]


def jsons():
    """JSON as programs write it, and as nobody does."""
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just(10**400)
    names = st.sampled_from(["text", "file_name", "image_path", "datasets", "model", "data", "recipe", "dtype", "shape",
                             "data_offsets", "__metadata__", "training_method", "LoRA_type", "beta_start", "caption",
                             "subsets", "general", "min_snr_gamma", "train"]) | st.text(max_size=4)  # fmt: skip
    return st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=8
    )


def toml_of(value):
    """A value as TOML, as far as it has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml_of(v)}" for k, v in value.items()) + "}"
    return json.dumps(value).replace("null", "0").replace("NaN", "nan").replace("Infinity", "inf")


@st.composite
def contents(draw, ending):
    if draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=200))
    value = draw(jsons())
    text = json.dumps(value)
    if ending == ".toml" and isinstance(value, dict):
        text = "\n".join(f"{json.dumps(k)} = {toml_of(v)}" for k, v in value.items())
    data = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(data)) + data + b"\0" * 8 if ending in (".safetensors", "") else data


@pytest.mark.parametrize(("name", "ending"), CASES)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(draw=st.data())
def test_any_content_ends_in_a_result_or_one_message(name, ending, draw, tmp_path):
    file = tmp_path / f"file{ending}"
    file.write_bytes(draw.draw(contents(ending)))
    message_of(READERS[name][0], file)


def header(text, data=b""):
    return struct.pack("<Q", len(text)) + text + data


DEEP, DIGITS = 100_000, 20_000
BAD = {
    "empty": b"",
    "random": bytes(range(256)) * 8,
    "not UTF-8": b"name = \"\xff\xfe\x80\"",
    "a header of 10 GB": struct.pack("<Q", 10 * 10**9) + b"{}",
    "deep lists": b"[" * DEEP,
    "deep objects": b'{"a":' * DEEP,
    "deep TOML": b"a = " + b"[" * DEEP + b"]" * DEEP,
    "a number of many digits": b'{"a": ' + b"9" * DIGITS + b"}",
    "a number of many digits in TOML": b"a = " + b"9" * DIGITS,
    "an infinite number": b'{"min_snr_gamma": 1e999, "training_method": "LORA", "beta_start": 1e999}',
    "a key twice": b'{"training_method": "LORA", "training_method": "LORA"}',
    "a header with a key twice": header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "a": {}}'),
    "a deep header": header(b'{"a":' * DEEP),
    "a header with a huge shape": header(
        json.dumps({"a": {"dtype": "F32", "shape": [10**40] * 10**4, "data_offsets": [0, 4]}}).encode(), b"\0" * 4),
    "a header that points outside": header(
        json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-8, 10**18]}}).encode(), b"\0" * 4),
    "null bytes in names":
        b'{"datasets": [{"subsets": [{"image_dir": "\\u0000"}]}], "file_name": "\\u0000", "text": "x"}',
}  # fmt: skip


@pytest.mark.parametrize("content", BAD)
@pytest.mark.parametrize(("name", "ending"), CASES)
def test_bad_content_is_bounded(name, ending, content, tmp_path):
    file = tmp_path / f"file{ending}"
    file.write_bytes(BAD[content])
    message_of(READERS[name][0], file)


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    """A zip of some kilobytes that unpacks to a thousand times as much."""
    file = tmp_path_factory.mktemp("bomb") / "bomb.zip"
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made,
        made.open("latents.npy", "w") as member,
    ):
        member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118))
        member.write(b"{'descr': '<f4', 'fortran_order': False, 'shape': (40000000,), }".ljust(117) + b"\n")
        for _ in range(10):
            member.write(b"\0" * (16 << 20))
    return file.read_bytes()


@pytest.mark.parametrize(("name", "ending"), CASES)
def test_a_renamed_zip_bomb_is_never_unpacked(name, ending, bomb, tmp_path):
    file = tmp_path / f"file{ending}"
    file.write_bytes(bomb)
    tracemalloc.start()
    try:
        assert message_of(READERS[name][0], file)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def places(folder):
    """Paths that are no files: a folder, a ring of links, a pipe that nobody writes to, a device without end."""
    (folder / "folder").mkdir()
    (folder / "ring").symlink_to(folder / "other")
    (folder / "other").symlink_to(folder / "ring")
    os.mkfifo(folder / "pipe")
    (folder / "device").symlink_to("/dev/zero")
    return ("folder", "ring", "pipe", "device", "nothing")


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are files of Unix")
@pytest.mark.parametrize(("name", "ending"), CASES)
def test_what_is_no_file_is_said_at_once(name, ending, tmp_path):
    for kind in places(tmp_path):
        file = tmp_path / f"file{ending}"
        file.unlink(missing_ok=True)
        file.symlink_to(tmp_path / kind)
        texts = []
        reader = threading.Thread(target=lambda f=file, s=texts: s.append(message_of(READERS[name][0], f)), daemon=True)
        reader.start()
        reader.join(20)
        assert not reader.is_alive(), f"{name} hangs on a {kind}"
        assert texts, f"{name} fails on a {kind}"
        assert texts[0], f"{name} has nothing to say of a {kind}"
        assert "valid" not in texts[0], "that it cannot be read is said, not that it is no TOML or JSON"


def test_every_module_that_opens_a_file_is_in_the_table():
    opens = re.compile(r"\.open\(|\.read_bytes\(|\.read_text\(|tomllib\.loads?\(|json\.loads?\(|np\.load\(|safe_open\(")
    opening = {
        file.relative_to(SRC).as_posix()
        for file in SRC.rglob("*.py")
        if file.parts[len(SRC.parts)] not in {"train", "runs"} and opens.search(file.read_text(encoding="utf-8"))
    }
    tabled = {module for _, _, modules in READERS.values() for module in modules}
    others = {module for modules in OTHERS.values() for module in modules}
    assert not tabled & others
    assert opening - tabled - others == set(), "a module opens files and no reader of the table stands for it"
