"""The shape of the package: imports go down only, nothing prints or is imported needlessly, all has its words."""

import ast
import os
import re
import subprocess
import sys
import time
from collections.abc import Container, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import hneurons

SOURCE = Path(hneurons.__file__).parent
LAYERS = (
    "core",
    "sparse",
    "records",
    "models",
    "answers",
    "neurons",
    "detection",
    "audits",
    "interventions",
    "releases",
    "mechanism",
    "benchmarks",
    "runs",
    "report",
    "evaluators",
    "cli",
)
TESTS = Path(__file__).parent
NO_ROOMS = {"support", "plugin"}  # helpers of tests, and a package that tests install
HEAVY = ("torch", "transformers", "sklearn", "scipy", "matplotlib", "datasets", "openai", "pyarrow", "jinja2")


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def layer_of(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


def imports_of(tree: ast.AST, modules: Container[str] = ()) -> Iterator[str]:
    """Modules a file imports when it runs, at any depth; those for type checkers alone are left out.

    A name imported from a package counts as the module of that name where `modules` has one.
    """
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    if isinstance(tree, ast.ImportFrom):
        assert tree.level == 0, "imports are absolute"
        module = tree.module or ""
        yield from {inner if (inner := f"{module}.{a.name}") in modules else module for a in tree.names}
    for child in ast.iter_child_nodes(tree):
        yield from imports_of(child, modules)


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


@cache
def imports() -> dict[Path, set[str]]:
    return {path: set(imports_of(tree)) for path, tree in trees().items()}


def test_imports_go_down_only() -> None:
    wrong = []
    for path, modules in imports().items():
        own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if path.parent == SOURCE and own not in LAYERS:
            continue
        assert own in LAYERS, f"put '{own}' into its place in LAYERS"
        for module in modules:
            if module.startswith("hneurons.") and LAYERS.index(layer_of(module)) > LAYERS.index(own):
                wrong.append(f"{name_of(path)} imports {module}, which stands above it")
    assert not wrong


def test_no_file_imports_itself_through_others() -> None:
    names = {".".join(("hneurons", *p.relative_to(SOURCE).with_suffix("").parts)): p for p in trees()}
    homes = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {name: set(imports_of(trees()[path], homes)) for name, path in homes.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_nothing_is_printed_outside_the_command_line() -> None:
    printing = [
        name_of(path)
        for path, tree in trees().items()
        if "cli" not in path.relative_to(SOURCE).parts
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "print"
    ]
    assert not printing


def test_modules_and_public_functions_have_a_docstring_and_annotations() -> None:
    wrong = []
    for path, tree in trees().items():
        if not (ast.get_docstring(tree) or not tree.body or path.stem == "__main__"):
            wrong.append(f"{name_of(path)} does not say what it is for")
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if node.returns is None or any(a.annotation is None for a in arguments):
                wrong.append(f"{name_of(path)}: {node.name} is not fully annotated")
            # A function whose name and types say all needs no words.
            if not ast.get_docstring(node) and len(node.body) > 12:
                wrong.append(f"{name_of(path)}: {node.name} has no docstring")
    assert not wrong


def test_no_file_pickles_and_none_is_called_utils() -> None:
    for path, modules in imports().items():
        assert not modules & {"pickle", "joblib", "dill", "cloudpickle"}, name_of(path)
        assert path.stem != "utils", name_of(path)


def test_every_folder_of_tests_mirrors_a_room() -> None:
    for folder in (path for path in TESTS.rglob("*") if path.is_dir() and any(path.glob("*.py"))):
        place = folder.relative_to(TESTS)
        assert place.parts[0] in NO_ROOMS or (SOURCE / place).is_dir(), f"tests/{place} tests no folder of the package"


def test_no_test_imports_a_test() -> None:
    importing = re.compile(r"^\s*(?:from|import) (?:tests\b|(?:\w+\.)*test_)", re.MULTILINE)
    assert importing.search("x = 1\n    from answers.test_spans import find")
    assert importing.search("import tests.support")
    assert not importing.search("from support.tests_of import a\nimport latest_news")
    found = [p.relative_to(TESTS) for p in TESTS.rglob("*.py") if importing.search(p.read_text(encoding="utf-8"))]
    assert not found


def test_the_picture_of_the_architecture_shows_every_room() -> None:
    picture = (TESTS.parent / "docs" / "images" / "architecture.svg").read_text()
    shown = set(re.findall(r'class="name"[^>]*>(\w+)<', picture))
    assert shown == {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}


def test_public_names_are_sorted_and_there() -> None:
    assert hneurons.__all__ == sorted(hneurons.__all__)
    assert all(getattr(hneurons, name) is not None for name in hneurons.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hneurons.nothing  # noqa: B018


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_help_and_the_package_load_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['hneurons', '--help']\n"
        "import hneurons, hneurons.cli\n"
        "try: hneurons.cli.main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print('HEAVY:', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert "HEAVY: []" in done.stdout
    for verb in ("run", "sample", "label", "select", "locate", "contributions", "fit", "evaluate", "report", "doctor"):
        assert verb in done.stdout


def test_help_answers_in_half_a_second_of_processor_time() -> None:
    """Processor time, the best of some runs: on a busy machine the clock on the wall measures the neighbours."""
    command = Path(sys.executable).with_name("hneurons")
    times = []
    for _ in range(5):
        before, start = os.times(), time.perf_counter()
        subprocess.run([str(command), "--help"], stdout=subprocess.DEVNULL, check=True, timeout=60)
        after = os.times()
        used = after.children_user - before.children_user + after.children_system - before.children_system
        times.append(min(used, time.perf_counter() - start))
        if times[-1] < 0.5:
            break
    assert min(times) < 0.5
