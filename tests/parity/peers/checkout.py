"""Takes functions out of a clone of a peer's repository, to run them; nothing of theirs is kept."""

import __future__

import ast
import importlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

LAZY = __future__.annotations.compiler_flag  # annotations name types that are not imported


@dataclass(frozen=True)
class Checkout:
    """A clone, bare or not, at its HEAD."""

    repository: str
    path: Path

    def git(self, *arguments):
        return subprocess.run(["git", "-C", str(self.path), *arguments], capture_output=True, check=True).stdout

    @property
    def commit(self):
        return self.git("rev-parse", "HEAD").decode().strip()

    def tree(self, file):
        return ast.parse(self.git("show", f"HEAD:{file}").decode())

    def define(self, file, *names, **space):
        """Functions and classes of a module by name, run with `space` as their globals."""
        definitions = [n for n in self.tree(file).body if getattr(n, "name", None) in names]
        return SimpleNamespace(**{name: run(definitions, file, space)[name] for name in names})

    def methods(self, file, owner, *names, **space):
        """A class with these methods only, and without its bases."""
        node = next(n for n in self.tree(file).body if getattr(n, "name", None) == owner)
        node.body = [n for n in node.body if getattr(n, "name", None) in names]
        node.bases, node.keywords = [], []
        return run([node], file, space)[owner]

    def lines(self, file, function, *parts):
        """What runs the statements of a function that these texts pick, in order, on given variables.

        A text is the test of an `if`; with ` ELSE` behind it, what stands in its else; or the beginning of a statement.
        """
        inside = next(n for n in ast.walk(self.tree(file)) if getattr(n, "name", None) == function)
        chosen = [statement for part in parts for statement in pick(inside, part)]

        def execute(**variables):
            return run(chosen, file, variables)

        return execute

    def package(self, folder, *stand_ins):
        """A package of theirs, imported from a temporary copy; `stand_ins` are modules that it names but never uses."""
        place = Path(tempfile.mkdtemp())
        with tarfile.open(fileobj=BytesIO(self.git("archive", "HEAD", folder))) as archive:
            archive.extractall(place, filter="data")
        for name in [n for n in sys.modules if n.split(".")[0] == folder]:
            del sys.modules[name]
        for name in stand_ins:
            sys.modules.setdefault(name, SimpleNamespace(pyplot=None, tqdm=None))
        sys.path.insert(0, str(place))
        try:
            return importlib.import_module(f"{folder}.gaussian_diffusion")
        finally:
            sys.path.remove(str(place))


def pick(inside, part):
    test, otherwise, _ = part.partition(" ELSE")
    for node in ast.walk(inside):
        if isinstance(node, ast.If) and ast.unparse(node.test) == test:
            return node.orelse if otherwise else [node]
        if isinstance(node, ast.stmt) and not isinstance(node, ast.If) and ast.unparse(node).startswith(part):
            return [node]
    raise LookupError(part)


def run(statements, file, space):
    for node in statements:
        if hasattr(node, "decorator_list"):
            node.decorator_list = []
    module = ast.Module(body=list(statements), type_ignores=[])
    exec(compile(module, file, "exec", flags=LAZY, dont_inherit=True), space)
    return space
