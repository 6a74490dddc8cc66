"""No sentence is data: nothing compares, splits or searches the text of an error, finding, change or reason.

Whoever improves a sentence must not change what the program does. What a program goes by has a field of its own: the
code of an error or finding, the field of a change, a type. The checker reads the syntax of the sources and follows
texts through the variables of a function; it knows texts by the names below.
"""

import ast
import textwrap
from pathlib import Path

import pytest

import snrlab

SOURCE = Path(snrlab.__file__).parent
# attributes that hold sentences, whatever they are of
PROSE = {
    "__notes__", "action", "advice", "all_notes", "assumption", "caption_problems", "changes_in_words", "counterpart",
    "description", "disagreement", "effects", "message", "msg", "notes", "origin", "problems", "reason", "sentence",
    "strerror", "summaries", "summary", "words",
}  # fmt: skip
# attributes that hold sentences in some classes: the name of the variable, and the attribute
PROSE_OF = {
    "change.text", "settings.kind", "other.kind", "adapters.kind", "lora.kind", "option.note", "known.note",
    "code.meaning",
}  # fmt: skip
# parameters and variables that are sentences by their names
NAMES = {"message", "reason", "remark", "sentence", "why"}
METHODS = {
    "count", "endswith", "find", "index", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind",
    "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "translate",
}  # fmt: skip
TEXT_OF = {"first_line", "format", "repr", "str"}  # functions that make a text of an error
# (file, function) -> why it may
ALLOWED = {
    ("core/errors.py", "first_line"): "errors of other libraries may have pages of text",
    ("core/findings/recipe_findings.py", "findings"): "what would be the same line twice is printed once",
    ("data/images/image_file.py", "shown_size"): "Pillow puts the whole path of the file into its messages",
    ("data/images/pixels.py", "decode"): "Pillow puts the whole path of the file into its messages",
    ("distributed.py", "_lost_process_errors"): "torch's message has the addresses of the processes in it",
    ("train/failure/error_messages.py", "is_out_of_memory"): "torch has no type for a machine without memory",
    ("train/failure/error_messages.py", "as_user_error"): "torch has one type for every failure of a graphics card",
    (
        "train/failure/error_messages.py",
        "_system_error",
    ): "safetensors passes the number of the system's error on in its text alone",
}


class Checker(ast.NodeVisitor):
    """Finds the places of one source where a sentence is used as data: (function, line, what)."""

    def __init__(self):
        self.hits, self.functions = [], ["module"]
        self.errors, self.texts = [set()], [set()]  # names in the functions around: of errors, and of texts

    # -- what is an error, and what is a text ------------------------------------------------------------------------

    def is_error(self, node):
        return isinstance(node, ast.Name) and any(node.id in names for names in self.errors)

    def is_prose(self, node):
        match node:
            case ast.Name():
                return any(node.id in names for names in self.texts)
            case ast.Attribute(value=value, attr=attr):
                last = getattr(value, "id", getattr(value, "attr", ""))
                return attr in PROSE or f"{last}.{attr}" in PROSE_OF or (attr == "args" and self.is_error(value))
            case ast.Subscript(value=value) | ast.Starred(value=value) | ast.NamedExpr(value=value):
                return self.is_prose(value)
            case ast.JoinedStr(values=values):
                return any(self.is_prose(v.value) or self.is_error(v.value) for v in values if hasattr(v, "value"))
            case ast.BinOp(left=left, right=right):
                return self.is_prose(left) or self.is_prose(right)
            case ast.BoolOp(values=values) | ast.List(elts=values) | ast.Tuple(elts=values) | ast.Set(elts=values):
                return any(map(self.is_prose, values))
            case ast.IfExp(body=body, orelse=other):
                return self.is_prose(body) or self.is_prose(other)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                return self.is_prose(node.elt)
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=attr), *_]):
                return attr in PROSE
            case ast.Call(func=ast.Name(id=name), args=arguments):
                plain = name in TEXT_OF | {"list", "set", "sorted", "tuple"}
                return plain and any(self.is_prose(a) or (name in TEXT_OF and self.is_error(a)) for a in arguments)
            case ast.Call(func=ast.Attribute(value=value, attr=attr), args=arguments):
                return self.is_prose(value) or (attr == "join" and any(map(self.is_prose, arguments)))
        return False

    # -- where names become errors and texts -------------------------------------------------------------------------

    def visit_FunctionDef(self, node):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        of_errors = {a.arg for a in arguments if a.annotation and "Error" in ast.unparse(a.annotation)}
        of_errors |= {a.arg for a in arguments if a.annotation and "Exception" in ast.unparse(a.annotation)}
        self.functions.append(node.name)
        self.errors.append(of_errors)
        self.texts.append({a.arg for a in arguments if a.arg in NAMES})
        before = list(self.hits)
        self.generic_visit(node)  # in a loop a name may be used above the line that makes it a text
        self.hits = before
        self.generic_visit(node)
        for names in (self.functions, self.errors, self.texts):
            names.pop()

    def visit_AsyncFunctionDef(self, node):
        self.visit_FunctionDef(node)

    def visit_ExceptHandler(self, node):
        if node.name:
            self.errors[-1].add(node.name)
        self.generic_visit(node)

    def bind(self, target, value):
        if self.is_prose(value):
            names = [n.id for n in ast.walk(target) if isinstance(n, ast.Name)]
            self.texts[-1].update(names if isinstance(target, ast.Name) else ())

    def visit_Assign(self, node):
        for target in node.targets:
            self.bind(target, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.bind(node.target, node.value)
        self.generic_visit(node)

    def visit_NamedExpr(self, node):
        self.bind(node.target, node.value)
        self.generic_visit(node)

    def visit_For(self, node):
        self.bind(node.target, node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node):
        self.bind(node.target, node.iter)
        self.generic_visit(node)

    def generic_visit(self, node):
        for generator in getattr(node, "generators", ()):  # stand behind what is made of them
            self.visit_comprehension(generator)
        super().generic_visit(node)

    # -- what is done with them --------------------------------------------------------------------------------------

    def hit(self, node, operation):
        entry = (self.functions[-1], node.lineno, operation)
        if entry not in self.hits:
            self.hits.append(entry)

    def visit_Call(self, node):
        match node.func:
            case ast.Attribute(value=ast.Name(id="re")):
                if any(map(self.is_prose, node.args)):
                    self.hit(node, f"re.{node.func.attr}")
            case ast.Attribute(value=value, attr=attr) if attr in METHODS and self.is_prose(value):
                self.hit(node, attr)
        self.generic_visit(node)

    def visit_Compare(self, node):
        for left, sign, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            empty = isinstance(right, ast.Constant) and not right.value
            compares = isinstance(sign, ast.Eq | ast.NotEq | ast.In | ast.NotIn) and not empty
            if compares and (self.is_prose(left) or self.is_prose(right)):
                self.hit(node, type(sign).__name__)
        self.generic_visit(node)

    def visit_Match(self, node):
        if self.is_prose(node.subject):
            self.hit(node, "match")
        self.generic_visit(node)


def prose_as_data(source):
    """(function, line, what) of each place of a source."""
    checker = Checker()
    checker.visit(ast.parse(source))
    return checker.hits


def test_no_sentence_is_data():
    hits = {
        (file.relative_to(SOURCE).as_posix(), function): f"{file}:{line}: {operation} on a sentence, in {function}"
        for file in sorted(SOURCE.rglob("*.py"))
        for function, line, operation in prose_as_data(file.read_text(encoding="utf-8"))
    }
    assert [text for place, text in hits.items() if place not in ALLOWED] == []
    assert sorted(set(ALLOWED) - set(hits)) == [], "allowed, and not there any more"


PLANTED = {
    "a message searched": """
        try:
            parse(text)
        except UserError as reason:
            if "Did you mean" not in str(reason):
                raise
        """,
    "a message cut": """
        def f():
            try:
                read(file)
            except UserError as mistake:
                leave(str(mistake).removeprefix("sample.prompts_file: "))
        """,
    "a message without its end": "def f(error: UserError):\n    return str(error).rstrip('.')",
    "its arguments": "def f(error: Exception):\n    return error.args[0].startswith('no')",
    "a pattern": "def f(error: BaseException):\n    return re.search('memory', str(error))",
    "a note": "def f(reason):\n    return 'no weight was changed' in getattr(reason, '__notes__', ())",
    "the first words of a change": "field = next(n for w, n in ABOUT.items() if change.text.startswith(w))",
    "a finding's message": "found = [f for f in findings if f.message == 'the weight is infinite']",
    "a finding's action": "def f(finding):\n    return finding.action.partition('=')[2]",
    "comments searched": """
        def drop_unused(conversion, name):
            comments = {line.origin for line in conversion.lines}
            return any(f"{name} =" in text for text in comments)
        """,
    "problems rewritten": """
        def f(found):
            raise UserError("\\n".join(found.problems).replace("data.folder: ", "validation.folder: "))
        """,
    "a text that went through variables": """
        def f(found):
            for note in found.notes:
                line = f"- {note}"
                shown = line.lower()
                if shown.endswith("kohya"):
                    yield shown
        """,
    "a parameter": "def culprit(loc, message, lines):\n    return [x for x in lines if re.search(x.name, message)]",
    "a kind in words": "def f(other):\n    return other.kind.split('. ')[0]",
    "the note of an option": "section = option.counterpart.startswith('data.')",
    "a match": """
        def f(finding):
            match finding.message:
                case "nothing":
                    return 1
        """,
    "an inner function": """
        def f(items):
            def g(item):
                return item.reason.replace("here", "there")
            return map(g, items)
        """,
}


@pytest.mark.parametrize("planted", PLANTED)
def test_the_checker_sees_a_sentence_used_as_data(planted):
    assert len(prose_as_data(textwrap.dedent(PLANTED[planted]))) == 1


CLEAN = {
    "a message passed on": "def f(error: UserError):\n    raise UserError(f'{where}: {error}', code=error.code)",
    "a code": "def f(finding):\n    return finding.code == 'weight_infinite'",
    "nothing said": "def f(line):\n    return line.reason == '' or not line.origin",
    "other texts": "def f(name):\n    return name.removeprefix('train.') in NAMES and re.match('a', name)",
    "a dataclass changed": "def f(item):\n    return replace(item, reason=item.reason + ' here')",
    "a sentence with a capital": "def f(message):\n    return message[0].upper() + message[1:]",
    "a name that is no error elsewhere": """
        def f():
            try:
                g()
            except ValueError as mistake:
                raise UserError(str(mistake), code="invalid-syntax") from None

        def h(mistake):
            return str(mistake).split()
        """,
}


@pytest.mark.parametrize("clean", CLEAN)
def test_the_checker_lets_data_alone(clean):
    assert prose_as_data(textwrap.dedent(CLEAN[clean])) == []
