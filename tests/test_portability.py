"""Windows, other alphabets, spaces: nothing in the product leans on one system."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomlkit

import snrlab
import tiny

SOURCES = sorted(Path(snrlab.__file__).parent.rglob("*.py"))
ONE_SYSTEM = {"fcntl", "resource", "pwd", "grp", "termios", "msvcrt", "winreg"}  # modules
OF_POSIX = {"fork", "forkpty", "killpg", "setsid", "getuid", "geteuid", "rename", "renames"}  # of os
SIGNALS = {"SIGTERM", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "alarm", "setitimer", "pause"}
TEXT = {"read_text", "write_text"}


def nodes():
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            yield f"{file.name}:{getattr(node, 'lineno', 0)}", node


def test_no_module_or_call_of_one_system_alone():
    offending = []
    for place, node in nodes():
        match node:
            case ast.Import(names=names) if {name.name for name in names} & ONE_SYSTEM:
                offending.append(place)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in ONE_SYSTEM:
                offending.append(place)
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in OF_POSIX:
                offending.append(f"{place} os.{name}")
            case ast.Attribute(value=ast.Name(id="signal"), attr=name) if name in SIGNALS:
                offending.append(f"{place} signal.{name}")
            case ast.Attribute(attr="rename"):  # refuses to replace a file on Windows, where replace does not
                offending.append(f"{place} rename")
    assert not offending, "\n".join(offending)


def test_text_files_say_their_encoding():
    """Without it Windows reads and writes the code page of the country."""
    offending = []
    for place, node in nodes():
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg for keyword in node.keywords}
        match node.func:
            case ast.Attribute(value=ast.Call(func=ast.Name(id="distribution"))):
                pass  # of an installed package's records, which are UTF-8
            case ast.Attribute(attr=name) if name in TEXT and "encoding" not in keywords:
                offending.append(place)
            case ast.Attribute(attr="open") | ast.Name(id="open"):
                modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                opens_path = isinstance(node.func, ast.Name) or "encoding" in keywords or modes
                if opens_path and not any("b" in mode for mode in modes) and "encoding" not in keywords:
                    offending.append(place)
    assert not offending, "\n".join(offending)


@pytest.fixture
def awkward(tmp_path):
    """A folder and a model whose names have spaces and letters of other alphabets, and a run file of them."""
    pictures = tiny.save_pictures(tmp_path / "my pictures é 写真")
    model = tiny.save_model(tmp_path / "models of mine" / "a base é")
    data = tiny.run_dict(model, pictures, train={"steps": 2}, sample={"prompts": ["ein Käfer"], "steps": 2},
                         output={"report": True, "model_card": True})  # fmt: skip
    (tmp_path / "my run é.toml").write_text(tomlkit.dumps(data), encoding="utf-8")
    return tmp_path


@pytest.mark.long
def test_spaces_and_letters_of_other_alphabets(awkward):
    """With a terminal that can show none of them: a name that cannot be shown is no reason to stop."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    out = awkward / "runs of é"
    for arguments in (["data", "my pictures é 写真"], ["train", "my run é.toml", "--out", out]):
        command = [sys.executable, "-m", "snrlab", *map(str, arguments)]
        done = subprocess.run(command, cwd=awkward, capture_output=True, env=environment)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert (out / "tiny" / "tiny.safetensors").is_file()
    assert "ein Käfer" in (out / "tiny" / "README.md").read_text(encoding="utf-8")
    for file in ("README.md", "report.html"):
        assert "my run" not in (out / "tiny" / file).read_text(encoding="utf-8")
        assert str(awkward) not in (out / "tiny" / file).read_text(encoding="utf-8")


def test_a_run_file_from_an_editor_on_windows(awkward):
    """It begins with a mark and its lines end in two characters."""
    text = (awkward / "my run é.toml").read_text(encoding="utf-8")
    file = awkward / "windows.toml"
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode("utf-8"))
    done = tiny.snrlab("train", file, "--check", cwd=awkward)
    assert done.returncode == 0, done.stderr
    assert "ready to train" in done.stdout
