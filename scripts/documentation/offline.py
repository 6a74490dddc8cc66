"""The search of a site that is opened as files: a browser neither fetches an index nor starts a worker from a file."""

from __future__ import annotations

import json
import re
from pathlib import Path

from documentation.problems import Problems

INDEX = "search.json"
SCRIPT = "search.js"  # the theme's own script asks for this name when the page is a file
WORKER = re.compile(r'"search":"([^"]+)"')
START = re.compile(r'(?=<script src="[^"]*bundle[^"]*\.js")')


def embed(site: Path, problems: Problems) -> None:
    """Put the index and the worker's program into one script, and let each page load it when it is opened as a file.

    Args:
        site: the built site.
        problems: notes a page whose program is not where it was.
    """
    pages = [
        (file, file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html")) if file.name != "404.html"
    ]
    themed = [(file, page) for file, page in pages if WORKER.search(page)]
    if not themed or not (site / INDEX).is_file():
        problems.add(INDEX, "the site has no search")
        return
    first, page = themed[0]
    match = WORKER.search(page)
    program = (first.parent / match[1]).resolve() if match else first
    (site / SCRIPT).write_text(script((site / INDEX).read_text("utf-8"), program.read_text("utf-8")), encoding="utf-8")
    for file, page in themed:
        up = "../" * (len(file.relative_to(site).parts) - 1)
        loaded, count = START.subn(lambda _, up=up: loader(f"{up}{SCRIPT}"), page, count=1)
        if not count:
            problems.add(file.relative_to(site).as_posix(), "it does not load the script that searches")
        file.write_text(loaded, encoding="utf-8")


def script(index: str, program: str) -> str:
    """JavaScript that holds the index and runs the worker's program from memory.

    Args:
        index: JSON.
        program: the worker's JavaScript.
    """
    return (
        f"var __index = {_in_script(index)};\n"
        "(function () {\n"
        "  if (window.__worker) return;\n"
        f"  var program = {_in_script(json.dumps(program))};\n"
        "  window.__worker = window.Worker;\n"
        "  window.Worker = function () {\n"
        '    return new window.__worker(URL.createObjectURL(new Blob([program], { type: "text/javascript" })));\n'
        "  };\n"
        "})();\n"
    )


def loader(address: str) -> str:
    """HTML that loads the script where the page is a file, before the theme's own program runs."""
    return f'<script>location.protocol === "file:" && document.write(\'<script src="{address}"><\\/script>\')</script>'


def _in_script(text: str) -> str:
    return text.replace("</", "<\\/").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
