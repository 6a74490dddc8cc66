"""What an imported run file trains on is what the other program computes: images an epoch, repeats, sizes, steps.

The other program's arithmetic is written out here from its behaviour (sd-scripts 48d368f: `DreamBoothDataset`,
`BucketManager`, `BlueprintGenerator`; OneTrainer's concepts), apart from ours.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging import picture
from snrlab.config import parse_run
from snrlab.config.run_file_text import format_toml
from snrlab.core.errors import UserError
from snrlab.data.dataset import find, select_items
from snrlab.data.images.buckets import fit
from snrlab.data.kohya.dataset_toml import refusal
from snrlab.data.overview import overview
from snrlab.peers.importing import import_source

SIZES = [(64, 64), (96, 64), (64, 128), (160, 96), (80, 200)]
# folder -> number of images; the last image of "bare" folders has no caption
FOLDERS = {
    "train/10_blorbo": 3,
    "train/2_dog": 2,
    "flat/10_cat": 4,
    "flat/plain": 3,
    "flat/3_bare": 5,
    "reg/1_class": 4,
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    root = tmp_path_factory.mktemp("pool")
    for number, (name, count) in enumerate(FOLDERS.items()):
        for i in range(count):
            picture(root / name / f"{i}.png", SIZES[(number + i) % len(SIZES)])
            picture(root / "masks" / Path(name).name / f"{i}.png", SIZES[(number + i) % len(SIZES)])
            if not (name.endswith("bare") and i == count - 1):
                (root / name / f"{i}.txt").write_text(f"caption {i}, tag", encoding="utf-8")
    return root


# -- kohya's arithmetic ----------------------------------------------------------------------------------------------


def level_value(name, default, *levels):
    return next((level[name] for level in levels if level.get(name) is not None), default)


def images_of(subset):
    """(size, caption) of each image of a folder, by name."""
    captions = {file.stem: file.read_text() for file in Path(subset["image_dir"]).glob("*.txt")}
    number = list(FOLDERS).index("/".join(Path(subset["image_dir"]).parts[-2:]))
    for i in range(FOLDERS[list(FOLDERS)[number]]):
        yield SIZES[(number + i) % len(SIZES)], captions.get(str(i), subset.get("class_tokens"))


def registered(subsets):
    """[size, repeats, caption] of the images of one dataset, regularisation repeated to match the others."""
    training, regular, seen = [], [], []
    for subset in subsets:
        if subset["num_repeats"] < 1 or subset["image_dir"] in seen:
            continue
        seen.append(subset["image_dir"])
        target = regular if subset.get("is_reg") else training
        target += [[size, subset["num_repeats"], caption] for size, caption in images_of(subset)]
    total, n, used, first = sum(image[1] for image in training), 0, [], True
    while regular and n < total:
        for image in regular:
            if first:
                used.append(image)
                n += image[1]
            else:
                image[1] += 1
                n += 1
            if n >= total:
                break
        first = False
    return training + used


def bucket(size, options):
    """Size that an image is trained at."""
    side, (w, h) = options["resolution"], size
    if not options.get("enable_bucket"):
        return side, side
    step, low, high = options["bucket_reso_steps"], options["min_bucket_reso"], options["max_bucket_reso"]
    area, aspect = side * side, w / h
    if options.get("bucket_no_upscale"):
        if w * h > area:
            width, height = math.sqrt(area * aspect), area / math.sqrt(area * aspect)
            by_width, by_height = (int(x + 0.5) // step * step for x in (width, height))
            height_of, width_of = (int(x + 0.5) // step * step for x in (by_width / aspect, by_height * aspect))
            if abs(by_width / height_of - aspect) < abs(width_of / by_height - aspect):
                w, h = by_width, int(by_width / aspect + 0.5)
            else:
                w, h = int(by_height * aspect + 0.5), by_height
        return w - w % step, h - h % step
    sizes = {(int(math.sqrt(area) // step) * step,) * 2}
    for width in range(low, high + 1, step):
        height = min(high, area // width // step * step)
        if height >= low:
            sizes |= {(width, height), (height, width)}
    ordered = sorted(sizes)
    return size if size in sizes else min(ordered, key=lambda s: abs(s[0] / s[1] - aspect))


def epoch(datasets):
    """(images an epoch by size trained at, batches an epoch, captions) over all datasets."""
    pictures, batches, captions = Counter(), 0, Counter()
    for options, subsets in datasets:
        buckets = Counter()
        for size, repeats, caption in registered(subsets):
            buckets[bucket(size, options)] += repeats
            captions[caption] += 1
        pictures += buckets
        batches += sum(math.ceil(count / options["batch_size"]) for count in buckets.values())
    return pictures, batches, captions


# -- settings that people have ---------------------------------------------------------------------------------------

SHUFFLE = {"shuffle_caption": True, "keep_tokens": 1, "caption_separator": ";"}
BUCKETS = {"enable_bucket": True, "min_bucket_reso": 64, "max_bucket_reso": 256, "bucket_reso_steps": 64}
of_images = st.sampled_from([{}, BUCKETS, {**BUCKETS, "bucket_no_upscale": True}, {"bucket_no_upscale": True}])
of_captions = st.sampled_from([{}, SHUFFLE, {"caption_extension": ".txt"}, {"flip_aug": True, "keep_tokens": 2},
                               {"secondary_separator": ";;;", "caption_separator": ";"},
                               {"random_crop": True}])  # fmt: skip
length = st.one_of(st.builds(lambda n: {"max_train_epochs": n}, st.integers(1, 5)),
                   st.builds(lambda n: {"max_train_steps": n}, st.integers(1, 500)),
                   st.just({"max_train_epochs": 2, "max_train_steps": 9}))  # fmt: skip
SUBSET = st.fixed_dictionaries(
    {"folder": st.sampled_from(["flat/10_cat", "flat/plain", "flat/3_bare"])},
    optional={"num_repeats": st.sampled_from([0, 1, 2, 3, 10]), "class_tokens": st.just("zork"),
              "keep_tokens": st.just(3), "masks": st.just(True)},
)  # fmt: skip
DATASET = st.fixed_dictionaries({"options": of_images, "subsets": st.lists(SUBSET, min_size=1, max_size=3)},
                                optional={"num_repeats": st.just(4), "batch_size": st.just(2)})  # fmt: skip
KOHYA = st.fixed_dictionaries({
    "kind": st.sampled_from(["folders", "window", "metadata", "dataset", "dataset", "easy"]),
    "length": length, "images": of_images, "captions": of_captions,
    "batch": st.integers(1, 3), "accumulation": st.integers(1, 2), "repeats": st.sampled_from([None, 1, 5]),
    "reg": st.booleans(), "general": st.sampled_from([{}, {"shuffle_caption": True}, {"num_repeats": 6}]),
    "datasets": st.lists(DATASET, min_size=1, max_size=2), "split": st.sampled_from([None, 0.25]),
})  # fmt: skip


def write(path, tables):
    """TOML of plain values, tables and lists of tables, one level each."""
    lines, after = [], []
    for name, value in tables.items():
        if isinstance(value, dict):
            after += [f"[{name}]", *(f"{k} = {format_toml(v)}" for k, v in value.items())]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                inner = item.get("subsets", [])
                after += [f"[[{name}]]", *(f"{k} = {format_toml(v)}" for k, v in item.items() if k != "subsets")]
                for subset in inner:
                    after += [f"[[{name}.subsets]]", *(f"{k} = {format_toml(v)}" for k, v in subset.items())]
        else:
            lines.append(f"{name} = {format_toml(value)}")
    path.write_text("\n".join([*lines, *after]) + "\n", encoding="utf-8")
    return path


def subset_options(subset, pool):
    place = {"image_dir": str(pool / subset["folder"])}
    if subset.get("masks"):
        place["conditioning_data_dir"] = str(pool / "masks" / Path(subset["folder"]).name)
    return place | {k: v for k, v in subset.items() if k not in ("folder", "masks")}


def kohya_files(drawn, pool, folder):
    """(settings file, dataset TOML or None, what kohya makes of them: (options, subsets) of each dataset)."""
    shared = {"resolution": "128,128", "network_module": "networks.lora", "train_batch_size": drawn["batch"],
              "gradient_accumulation_steps": drawn["accumulation"], **drawn["images"], **drawn["captions"],
              **drawn["length"], **({"dataset_repeats": drawn["repeats"]} if drawn["repeats"] else {}),
              **({"validation_split": drawn["split"]} if drawn["split"] else {})}  # fmt: skip
    defaults = {"enable_bucket": False, "min_bucket_reso": 256, "max_bucket_reso": 1024, "bucket_reso_steps": 64}
    options = {**defaults, **drawn["images"], "resolution": 128, "batch_size": drawn["batch"]}
    named = [("train/10_blorbo", 10, "blorbo"), ("train/2_dog", 2, "dog")]
    by_name = [{"image_dir": str(pool / f), "num_repeats": n, "class_tokens": c} for f, n, c in named]
    reg = {"image_dir": str(pool / "reg/1_class"), "num_repeats": 1, "class_tokens": "class", "is_reg": True}
    match drawn["kind"]:
        case "folders" | "window":
            places = {"train_data_dir": str(pool / "train")} | (
                {"reg_data_dir": str(pool / "reg")} if drawn["reg"] else {}
            )
            expected = [(options, by_name + [reg] * drawn["reg"])]
            if drawn["kind"] == "folders":
                return write(folder / "s.toml", {**places, **shared}), None, expected
            window = {"max_resolution": shared.pop("resolution"), "LoRA_type": "Standard", **places, **shared}
            del window["network_module"]
            (folder / "s.json").write_text(json.dumps(window), encoding="utf-8")
            return folder / "s.json", None, expected
        case "metadata":
            places = {"train_data_dir": str(pool / "flat/10_cat"), "in_json": "meta.json"}
            only = {"image_dir": places["train_data_dir"], "num_repeats": drawn["repeats"] or 1}
            return write(folder / "s.toml", {**places, **shared}), None, [(options, [only])]
        case "easy":
            subsets = [subset_options(s, pool) for s in drawn["datasets"][0]["subsets"]]
            fallback = drawn["repeats"] or 1
            expected = [(options, [{**s, "num_repeats": s.get("num_repeats", fallback)} for s in subsets])]
            text = "\n".join(f"{k} = {format_toml(v)}" for k, v in shared.items())
            tables = "\n".join(
                "[[subsets]]\n" + "\n".join(f"{k} = {format_toml(v)}" for k, v in s.items()) for s in subsets
            )
            (folder / "s.toml").write_text(f"{tables}\n[general_args.args]\n{text}\n", encoding="utf-8")
            return folder / "s.toml", None, expected
    groups, expected = [], []
    for drawn_group in drawn["datasets"]:
        subsets = [subset_options(s, pool) for s in drawn_group["subsets"]]
        subsets += [{k: v for k, v in reg.items() if k != "num_repeats"}] * (drawn["reg"] and not groups)
        group = {**drawn_group["options"], **{k: v for k, v in drawn_group.items() if k not in ("options", "subsets")}}
        merged = {**options, **drawn_group["options"]}
        merged["batch_size"] = group.get("batch_size", drawn["batch"])
        fallback = drawn["repeats"] or 1
        expected.append((merged, [
            {**s, "num_repeats": level_value("num_repeats", fallback, s, group, drawn["general"])} for s in subsets
        ]))  # fmt: skip
        groups.append({**group, "subsets": subsets})
    dataset = write(
        folder / "d.toml",
        {"general": drawn["general"], "datasets": groups} if drawn["general"] else {"datasets": groups},
    )
    return write(folder / "s.toml", shared), dataset, expected


@settings(max_examples=60, deadline=None)
@given(drawn=KOHYA)
def test_kohyas_images_and_steps_are_those_of_the_run_file(drawn, pool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("s")
    source, dataset, expected = kohya_files(drawn, pool, folder)
    pictures, batches, captions = epoch(expected)
    if not pictures and drawn["reg"] and drawn["kind"] == "dataset":
        with pytest.raises(UserError, match="nothing to learn from"):
            import_source(source, dataset, refuses=refusal)
        return
    imported = import_source(source, dataset, refuses=refusal)
    text = " ".join(imported.written.text.replace("#", " ").split())
    run = parse_run(tomllib.loads(imported.written.text))
    lost = " ".join(item.option + item.reason for item in imported.written.dropped if item.severity == "lost")
    if drawn["split"]:
        assert "validation_split" in lost
    if not pictures:
        assert "name their folder here" in text
        return
    sizes = {options["batch_size"] for options, _ in expected}
    if len(sizes) > 1:
        assert "a run has one batch size here" in text
        return
    regularised = any(s.get("is_reg") for _, subsets in expected for s in subsets)
    if regularised and len(expected) > 1 and run.data.dataset_config is None:
        assert "to the number of images in their own dataset" in " ".join(lost.split())
        return
    discovery = find(run.data)
    arguments = {"seed": run.seed, "hold_back": 0, "batch_size": run.train.batch_size}
    if None in captions:
        with pytest.raises(UserError, match="no caption"):
            select_items(discovery, run.data, **arguments)
        return
    items, _ = select_items(discovery, run.data, **arguments)
    ours = Counter()
    for item in items:
        ours[fit(item.size, item.part.resolution, item.part.buckets).target] += item.repeats
    assert ours == pictures, imported.written.text
    assert Counter(item.captions[0] for item in items) == captions
    table = overview(discovery, items, ())
    for (width, height), count in pictures.items():
        assert re.search(rf"^{width}x{height} +\d+ +{count}$", table, re.MULTILINE), table
    # steps: kohya ends each bucket with a smaller batch; where all are full there is no difference
    batch, accumulation = sizes.pop(), drawn["accumulation"]
    assert (run.train.batch_size, run.train.gradient_accumulation) == (batch, accumulation)
    steps = run.train.model_copy(update={"warmup": 0}).in_steps(sum(ours.values())).steps
    epochs = drawn["length"].get("max_train_epochs")
    if epochs is None:
        assert steps == drawn["length"]["max_train_steps"]
        return
    theirs = epochs * math.ceil(batches / accumulation)
    assert steps <= theirs
    if all(n % batch == 0 for n in pictures.values()) and len(expected) == 1 and batches % accumulation == 0:
        assert steps == theirs


CONCEPT = st.fixed_dictionaries(
    {"path": st.sampled_from(["flat/10_cat", "flat/plain", "train/2_dog"])},
    optional={"balancing": st.sampled_from([1.0, 2.0, 3.0]), "enabled": st.booleans(), "name": st.just("a")},
)


@settings(max_examples=25, deadline=None)
@given(concepts=st.lists(CONCEPT, min_size=1, max_size=3, unique_by=lambda c: c["path"]), epochs=st.integers(1, 4))
def test_onetrainers_images_are_those_of_the_run_file(concepts, epochs, pool, tmp_path_factory):
    file = tmp_path_factory.mktemp("o") / "config.json"
    listed = [{**concept, "path": str(pool / concept["path"])} for concept in concepts]
    file.write_text(json.dumps({"training_method": "LORA", "model_type": "STABLE_DIFFUSION_15", "concepts": listed,
                                "epochs": epochs, "batch_size": 1, "resolution": "128"}), encoding="utf-8")  # fmt: skip
    run = parse_run(tomllib.loads(import_source(file).written.text))
    used = [concept for concept in concepts if concept.get("enabled", True)]
    if not used:
        assert run.data.folder.endswith("images")
        return
    items, _ = select_items(find(run.data), run.data, seed=0, hold_back=0, batch_size=1)
    images = sum(int(c.get("balancing", 1)) * FOLDERS[c["path"]] for c in used)
    assert sum(item.repeats for item in items) == images
    train = run.train.model_copy(update={"warmup": 0})  # by default 200 steps, which import warns of
    assert train.in_steps(images).steps == epochs * images
