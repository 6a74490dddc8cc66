"""A terminal for tests: a pseudo-terminal of a size, what a command wrote to it, and what stood on the screen."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any

import forked
from snrlab.cli import main

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Screen:
    """The lines of a terminal, as far as rich's control codes go; `frames` are the last lines that it showed."""

    def __init__(self, text: str, width: int) -> None:
        self.lines, self.frames, self.row, self.column = [""], [], 0, 0
        for code, letter, carriage, newline, words in _TOKEN.findall(text):
            if letter == "K":
                self.keep_frame()
                self.lines[self.row] = ""
            elif letter == "A":
                self.row -= int(code or 1)
            elif carriage:
                self.column = 0
            elif newline:
                self.row, self.column = self.row + 1, 0
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif words:
                for letter_of_word in words:
                    self.put(letter_of_word, width)
        self.keep_frame()

    def put(self, letter, width):
        if self.column == width:
            self.row, self.column = self.row + 1, 0
            self.lines += [""] * (self.row + 1 - len(self.lines))
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + letter + line[self.column + 1 :]
        self.column += 1

    def keep_frame(self):
        if self.lines[self.row].strip():
            self.frames.append(self.lines[self.row].rstrip())


def in_a_terminal(
    arguments: list[str], width: int, prepare: Callable[[], None], act: Callable[[Any, str], None] | None = None
) -> tuple[str, int]:
    """What `snrlab` writes to a terminal of this width, and its exit code.

    `prepare` runs in its process before it, and `act` here, with the process and what it has written, after each read.
    """
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    process = forked.server().Process(target=_run, args=(arguments, os.ttyname(slave), prepare))
    process.start()
    text = b""
    while True:
        alive = process.is_alive()  # before the look: what it wrote last is read too
        if select.select([master], [], [], 0.05)[0]:
            text += os.read(master, 2**16)
            if act is not None:
                act(process, text.decode(errors="replace"))
        elif not alive:
            break
    for end in (master, slave):
        os.close(end)
    return text.decode(errors="replace"), process.exitcode or 0


def _run(arguments, terminal, prepare):
    os.environ |= {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    for variable in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        os.environ.pop(variable, None)
    os.setsid()
    file = os.open(terminal, os.O_RDWR)  # becomes the controlling terminal, so that Ctrl-C of the terminal reaches it
    for stream in (0, 1, 2):
        os.dup2(file, stream)
    prepare()
    sys.argv = ["snrlab", *arguments]
    main()
