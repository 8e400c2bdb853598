"""Help of every verb: its defaults, and one example that the verb itself can read."""

import shlex
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hneurons.cli.app import app
from hneurons.cli.examples import EXAMPLES

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def help_of(verb: str) -> str:
    said = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert said.exit_code == 0
    return said.output


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_ends_with_an_example_that_the_verb_reads(verb: str) -> None:
    program, named, *words = shlex.split(EXAMPLES[verb])
    assert (program, named) == ("hneurons", verb)
    COMMANDS[verb].make_context(verb, words)  # refuses unknown options, missing arguments and values of another kind
    said = " ".join(help_of(verb).split())
    assert said.endswith(f"Example: {EXAMPLES[verb]}")


def test_there_is_no_example_of_a_verb_that_is_not_there() -> None:
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_shows_every_default_and_fits_80_columns(verb: str) -> None:
    said = help_of(verb)
    assert max(map(len, said.splitlines())) <= 80
    words = "".join(said.split())
    for parameter in COMMANDS[verb].params:
        value = parameter.default
        if parameter.param_type_name != "option" or parameter.hidden or isinstance(value, bool) or not value:
            continue
        shown = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        assert f"[default:{''.join(shown.split())}" in words, f"{verb} --help hides the default of {parameter.opts[0]}"


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_says_what_happens_without_an_option(verb: str) -> None:
    """An option without a value of its own says in words what it does when it is left out."""
    for parameter in COMMANDS[verb].params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            assert (parameter.help or "").strip(), f"{verb} {parameter.opts[0]} has no help"
