"""Facts at the head of a report: what was trained, when, on what, for how long, and where the result goes."""

from __future__ import annotations

import html
from datetime import datetime
from pathlib import Path

import numpy as np

from snrlab.config import RunConfig
from snrlab.lab.report_parts.contents import LinkedFile, ReportContents
from snrlab.runs.sessions import seconds_of
from snrlab.runs.status import RunState

_SHOWN_RESULTS = 4  # results saved on the way that the head itself names; the others are folded
STATE_WORDS: dict[RunState, str] = {
    "running": "running",
    "finished": "finished",
    "stopped": "stopped before its last step; it can go on with --resume",
    "broken": "broken: some of its files cannot be read",
}


def base_name(config: RunConfig) -> str:
    """Name of the base model: as in the run's [output], or else after its file."""
    model = config.model
    default_name = Path(model.path).name if model.path is not None else f"snrlab-{model.shipped or model.random}"
    return config.output.base_model or default_name.replace("_", "-")


def trained_thing(config: RunConfig) -> str:
    """What a run trains, in words.

    A LoRA with its rank, or all weights.
    """
    return f"a LoRA of rank {config.lora.rank}" if config.train.method == "lora" else "all weights"


def facts_section(config: RunConfig, contents: ReportContents) -> str:
    """The facts as an HTML list of terms; without output.dates nothing in it depends on time or machine."""
    facts = [
        ("Trained", f"{trained_thing(config)} on {html.escape(base_name(config))}"),
        ("Status", html.escape(STATE_WORDS[contents.state])),
        ("Steps", html.escape(_steps(config, contents))),
        *((term, html.escape(text)) for term, text in _dated_facts(config, contents)),
        ("Result", _result(contents)),
        *([("Use it", " ".join(html.escape(text) for text in usage(config)))] if contents.result else []),
        ("Files", _links(contents)),
    ]
    return "<dl>" + "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in facts if text) + "</dl>"


def usage(config: RunConfig) -> list[str]:
    """Where the result goes in other programs, in sentences."""
    name, output, lora = config.name, config.output, config.train.method == "lora"
    file = f"{name}.safetensors" if config.single_file else f"the folder {name}"
    if config.model.path is None:
        drawn = f"Draw with it: snrlab sample {name}, with the path of this folder in place of {name}."
        return [f"It fits only the small model that ships with snrlab, which other programs do not have. {drawn}"]
    if lora and output.lora_format == "kohya":
        sentences = [
            f"ComfyUI: copy {file} into ComfyUI/models/loras and add the node Load LoRA.",
            f"A1111 and Forge: copy it into models/Lora and write <lora:{name}:1> into the prompt.",
            "Start at strength 1. If pictures look overdone, try 0.6 to 0.8.",
        ]
    elif lora:
        sentences = [
            f"diffusers: pipeline.load_lora_weights('{file}').",
            'ComfyUI, A1111 and Forge read the other format: output.lora_format = "kohya".',
        ]
    elif config.single_file:
        sentences = [
            f"ComfyUI: copy {file} into ComfyUI/models/checkpoints.",
            "A1111 and Forge: copy it into models/Stable-diffusion.",
        ]
    else:
        sentences = [f"diffusers: DiffusionPipeline.from_pretrained('{name}')."]
    if output.trigger_phrase:
        sentences.append(f"Put {output.trigger_phrase} into the prompt.")
    return sentences


def _steps(config: RunConfig, contents: ReportContents) -> str:
    """Steps taken, the images of each, and how many images there are."""
    records, train = contents.records, config.train
    batch = len(records[0]["t"]) if records else train.batch_size * train.gradient_accumulation  # of all devices
    text = f"{contents.done} of {train.steps}" if contents.done < train.steps else f"{train.steps}"
    of_images = f", from {contents.images} images" if contents.images else ""
    plural = "image" if batch == 1 else "images"
    return f"{text}, each of {batch} {plural}{of_images}; seed {config.seed}, {config.model.precision}"


def _dated_facts(config: RunConfig, contents: ReportContents) -> list[tuple[str, str]]:
    """Dates, minutes and machine; nothing for a run that writes no dates."""
    sessions = contents.sessions
    if not config.output.dates or not sessions:
        return []
    running = contents.state == "running"
    now = datetime.now().astimezone()
    ends = "still running" if running else f"ended {_date(sessions[-1]['end'])}" if "end" in sessions[-1] else ""
    again = f", in {len(sessions)} sessions" if len(sessions) > 1 else ""
    facts = [("Started", ", ".join(part for part in (_date(sessions[0]["start"]), ends) if part) + again)]
    seconds = [record["seconds"] for record in contents.records if "seconds" in record]
    whole = seconds_of(sessions, now if running else None)
    times = [_duration(whole)] if whole is not None else []
    if seconds:
        times.append(f"{_duration(sum(seconds))} of it in steps, {np.median(seconds):.2g} s each")
    if times:
        facts.append(("Time", "; ".join(times)))
    machines = dict.fromkeys(f"{s['device']} ({s['machine']})" for s in sessions)
    facts.append(("Machine", ", then ".join(machines)))
    return [*facts, ("Page written", f"{now:%Y-%m-%d %H:%M:%S}")] if running else facts


def _date(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def _duration(seconds: float) -> str:
    """A duration as people say it.

    >>> _duration(42.3), _duration(150), _duration(7500)
    ('42 s', '2 min 30 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole // 60 % 60} min"


def _result(contents: ReportContents) -> str:
    if contents.result is None:
        return "none yet: it is written after the last step"
    return _link(contents.result)


def _links(contents: ReportContents) -> str:
    """Links to the other files; of many results saved on the way the last ones, the others folded."""
    saved = [file for file in contents.files if "-step" in Path(file.path).name]
    others = [file for file in contents.files if file not in saved]
    folded = saved[:-_SHOWN_RESULTS]
    shown = ", ".join(map(_link, [*saved[len(folded) :], *others]))
    if not folded:
        return shown
    earlier = ", ".join(map(_link, folded))
    return f"{shown}<details><summary>{len(folded)} earlier results</summary>{earlier}</details>"


def _link(file: LinkedFile) -> str:
    size = f" ({file.size})" if file.size else ""
    path = html.escape(file.path, quote=True)
    return f'<a href="{path}">{path}</a>{size}'
