"""Write docs/reference/: the commands, from the command line itself, and the Python interface, from its docstrings.

python scripts/build_reference.py            writes the pages
python scripts/build_reference.py --check    writes nothing and exits with 1 where a page is not up to date
"""

import argparse
import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer

import hneurons
from hneurons.cli.app import app

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
WIDTH = 118
Function = ast.FunctionDef | ast.AsyncFunctionDef


def commands_page() -> str:
    """Every command with its arguments and options."""
    group: Any = typer.main.get_command(app)  # a click group; typer carries its own copy of click
    lines = [
        "# Commands",
        "",
        "Written from the commands by `make reference`. `hneurons VERB --help` says the same on the terminal.",
        "",
    ]
    lines += [f"- [`{name}`](#{name}): {_first_sentence(c.help)}" for name, c in group.commands.items()]
    for name, command in group.commands.items():
        lines += ["", f"## {name}", ""]
        usage = [f"hneurons {name}"]
        for parameter in command.params:
            if _is_argument(parameter):
                usage.append((parameter.metavar or parameter.name).upper())
            elif parameter.required:
                usage.append(f"{_flags(parameter)[0]} {_kind(parameter)}".strip())
        lines += ["```sh", " ".join([*usage, "[OPTIONS]"]), "```", "", *_prose(command.help or "")]
        for title, wanted in (("Arguments", True), ("Options", False)):
            shown = [p for p in command.params if _is_argument(p) == wanted and not getattr(p, "hidden", False)]
            entries = [_entry(p) for p in shown]
            if entries:
                lines += ["", f"{title}:", "", *entries]
        lines += ["", "Example:", "", "```sh", command.epilog.removeprefix("Example: "), "```"]
    return _page(lines)


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _flags(parameter: Any) -> list[str]:
    return [*parameter.opts, *parameter.secondary_opts]


def _kind(parameter: Any) -> str:
    """What stands after an option's name: the type of its value; nothing for a flag."""
    annotation = parameter.type_descriptor.annotation
    inner = [part for part in get_args(annotation) if part is not type(None)]
    kind = inner[0] if inner else annotation
    return {bool: "", int: "INTEGER", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


def _entry(parameter: Any) -> str:
    """One item of a list: names, kind, help, default."""
    if _is_argument(parameter):
        names = f"`{(parameter.metavar or parameter.name).upper()}`"
    else:
        names = ", ".join(f"`{flag}`" for flag in _flags(parameter)) + (f" {k}" if (k := _kind(parameter)) else "")
    words = " ".join((getattr(parameter, "help", "") or "").split())
    ending = "Required." if parameter.required else ""
    default = parameter.default
    if not parameter.required and default not in (None, "", []) and not isinstance(default, bool):
        shown = ",".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
        ending = f"Default: `{shown}`." if shown else ""
    if getattr(parameter, "multiple", False):
        ending = f"{ending} May be given several times.".strip()
    return f"- {names}: {' '.join(filter(None, (words, ending)))}"


def python_page() -> str:
    """Every public name with its signature and docstring."""
    lines = [
        "# Python interface",
        "",
        "Written from the docstrings of `hneurons.__all__` by `make reference`.",
        "Every name is imported from the package itself: `import hneurons as hn`, then `hn.load_model(...)`.",
    ]
    for name in hneurons.__all__:
        thing = getattr(hneurons, name)
        module = importlib.import_module(thing.__module__)
        node = next(
            n for n in ast.parse(inspect.getsource(module)).body
            if isinstance(n, ast.ClassDef | Function) and n.name == thing.__name__
        )  # fmt: skip
        lines += ["", f"## {name}", "", f"In `{module.__name__}`.", ""]
        lines += _class(node) if isinstance(node, ast.ClassDef) else _function(node)
    return _page(lines)


def _function(node: Function) -> list[str]:
    return ["```python", *_signature(node), "```", "", *_prose(ast.get_docstring(node) or "")]


def _class(node: ast.ClassDef) -> list[str]:
    """Docstring, fields, and the public methods and properties that have words."""
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    lines = ["```python", f"class {node.name}({bases})" if bases else f"class {node.name}"]
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and not ast.unparse(n.target).startswith("_")]
    lines += [
        f"    {ast.unparse(f.target)}: {_type(f.annotation)}" + (f" = {_default(f.value)}" if f.value else "")
        for f in fields
    ]
    made = next((n for n in node.body if isinstance(n, Function) and n.name == "__init__"), None)
    if made is not None:
        made.returns = None
        lines += ["", *_signature(made, node.name)]
    lines += ["```", "", *_prose(ast.get_docstring(node) or "")]
    for method in node.body:
        words = ast.get_docstring(method) if isinstance(method, Function) else None
        if not isinstance(method, Function) or not words or method.name.startswith("_"):
            continue
        marks = {ast.unparse(d).split(".")[-1] for d in method.decorator_list}
        shown = _signature(method)
        if marks & {"property", "cached_property"} and method.returns:
            shown = [f"{method.name}: {_type(method.returns)}"]
        lines += ["", f"### {node.name}.{method.name}", "", "```python", *shown, "```", "", *_prose(words)]
    return lines


def _default(value: ast.expr) -> str:
    """A default as it is written; what a field's call says beyond its default belongs to the code."""
    if isinstance(value, ast.Call):
        named = {k.arg: k.value for k in value.keywords}
        first = named.get("default") or named.get("default_factory") or (value.args[0] if value.args else None)
        if ast.unparse(value.func).split(".")[-1] in ("field", "_option") and first is not None:
            return ast.unparse(first)
    return ast.unparse(value)


def _signature(node: Function, name: str = "") -> list[str]:
    """The signature, one parameter a line where it does not fit into one."""
    arguments = node.args
    if arguments.args and arguments.args[0].arg in ("self", "cls"):
        arguments.args.pop(0)
    returns = f" -> {_type(node.returns)}" if node.returns else ""
    parts = list(_parameters(arguments))
    whole = f"{name or node.name}({', '.join(parts)}){returns}"
    if len(whole) <= 100:
        return [whole]
    return [f"{name or node.name}(", *(f"    {part}," for part in parts), f"){returns}"]


def _parameters(arguments: ast.arguments) -> Iterator[str]:
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    for argument, default in zip(plain, defaults, strict=True):
        yield _parameter(argument, default)
    if arguments.vararg:
        yield f"*{ast.unparse(arguments.vararg)}"
    elif arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _parameter(argument, default)
    if arguments.kwarg:
        yield f"**{ast.unparse(arguments.kwarg)}"


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {_type(argument.annotation)}" if argument.annotation else ""
    return f"{argument.arg}{kind}" + (f" = {ast.unparse(default)}" if default is not None else "")


def _type(annotation: ast.expr) -> str:
    """A type without the quotes it needs where a name is not imported when the code runs."""
    text = ast.unparse(annotation)
    return str(annotation.value) if isinstance(annotation, ast.Constant) and annotation.value else text


def _first_sentence(text: str | None) -> str:
    return re.split(r"(?<=\.)\s", " ".join((text or "").split()))[0]


def _prose(text: str) -> list[str]:
    """A docstring as Markdown: paragraphs as they are, indented blocks as code."""
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        code = all(line.startswith("    ") for line in block.splitlines()) and block.strip()
        lines += ["", "```", *textwrap.dedent(block).splitlines(), "```"] if code else ["", *block.splitlines()]
    return lines[1:]


def _page(lines: list[str]) -> str:
    """Long lines of text are wrapped; code is left as it is."""
    wrapped, code = [], False
    for line in lines:
        code ^= line.startswith("```")
        if code or len(line) <= WIDTH:
            wrapped.append(line)
        else:
            indent = "  " if line.startswith("- ") else ""
            wrapped += textwrap.wrap(
                line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )
    return "\n".join(wrapped) + "\n"


def main() -> int:
    """Write or check both pages; the exit code is 1 where a check found a page that is not up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page would change")
    check = parser.parse_args().check
    stale = []
    for name, page in (("cli.md", commands_page()), ("api.md", python_page())):
        path = REFERENCE / name
        if path.is_file() and path.read_text() == page:
            continue
        stale.append(str(path))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page)
    if stale and check:
        print(f"not up to date: {', '.join(stale)}; run  make reference", file=sys.stderr)
    return int(bool(stale) and check)


if __name__ == "__main__":
    sys.exit(main())
