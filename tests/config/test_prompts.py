"""Prompt lines: kohya's flags, comments, files, and what a mistake says."""

import pytest
import tomlkit

from snrlab import UserError
from snrlab.config import parse_run, read_run
from snrlab.config.prompts import PromptLine, parse_line

SMALL = {"model": {"random": "small"}, "data": {"shipped": "noto", "resolution": 64}}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("a cat", PromptLine("a cat")),
        ("  a cat -- asleep, well-fed  ", PromptLine("a cat -- asleep, well-fed")),
        (
            "a cat --n bad, worse --w 768 --h 512 --d 42 --l 7.5 --s 28",
            PromptLine("a cat", "bad, worse", 768, 512, 42, 7.5, 28),
        ),
        ("a cat --W 64 --S 3", PromptLine("a cat", width=64, steps=3)),
        ("a cat --ss ddim", PromptLine("a cat", sampler="ddim")),
        ("a cat --ss DPM++ 2M Karras --s 3", PromptLine("a cat", steps=3, sampler="dpmpp_2m_karras")),
        ("--n bad", PromptLine("", "bad")),
        ("a (cat:1.2) --n ", PromptLine("a (cat:1.2)", "")),
    ],
)
def test_lines(line, wanted):
    assert parse_line(line, "line 1") == wanted


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a --q 3", "line 4: --q is not known. Allowed: --n negative prompt, --w width"),
        ("a --width 512", "--width is not known. Did you mean --w?"),
        ("a --seed 1", "Did you mean --d?"),
        ("a --w 500", "line 4: --w (width) is 500; it must be a multiple of 8, such as 496"),
        ("a --w wide", "--w (width) is 'wide'; it must be a whole number"),
        ("a --h 0", "it must be 8 to 8192"),
        ("a --s 0", "--s (sampler steps) is 0; it must be 1 to 1000"),
        ("a --l 0.5", "--l (guidance) is 0.5; it must be 1 to 100"),
        ("a --l nan", "--l (guidance) is nan"),
        ("a --d -1", "--d (seed) is -1"),
        ("a --d 1 --d 2", "--d is given twice"),
        ("a --ss euler_b", "line 4: --ss (sampler): 'euler_b' is not known. Did you mean 'euler_a'?"),
        (
            "a --ss k_lms",
            "'k_lms' is a sampler of another program that snrlab does not have. The nearest here is dpmpp",
        ),
        ("a --sampler euler", "Did you mean --ss?"),
        ("a\nb", "a prompt is one line"),
    ],
)
def test_mistakes(line, message):
    with pytest.raises(UserError) as mistake:
        parse_line(line, "line 4")
    assert message in str(mistake.value)
    assert "line 4" in str(mistake.value)


def test_a_run_names_the_prompt_that_is_wrong():
    with pytest.raises(UserError, match=r"sample.prompts: prompt 2: --w \(width\) is 500"):
        parse_run({**SMALL, "sample": {"prompts": ["a", "# a comment", "b --w 500"]}})


def test_comments_in_prompts_are_left_out():
    assert parse_run({**SMALL, "sample": {"prompts": ["# first", "a --d 1", "  #second"]}}).sample.prompts == [
        "a --d 1"
    ]


def test_a_file_of_prompts_is_read_into_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prömpts.txt").write_text("# kohya's\n\na red apple --d 3\r\nein Käfer\n", encoding="utf-8-sig")
    file = tmp_path / "run.toml"
    file.write_text(tomlkit.dumps({**SMALL, "sample": {"prompts_file": "prömpts.txt"}}), encoding="utf-8")
    config = read_run(file)
    assert config.sample.prompts == ["a red apple --d 3", "ein Käfer"]
    assert config.sample.prompts_file is None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "fine\nbad --q 1\n", "a.txt, line 2: --q is not known"),
        ("a.txt", "# nothing\n", "there is no prompt in"),
        ("a.toml", "[prompt]\n", "write one prompt a line"),
        ("missing.txt", None, "there is no file"),
    ],
)
def test_files_that_cannot_be_used(name, text, message, tmp_path):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        parse_run({**SMALL, "sample": {"prompts_file": str(tmp_path / name)}})
