"""The command line called in this process: exit code, standard output and standard error."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from hneurons.cli import main


class Said(NamedTuple):
    code: int
    out: str
    err: str


CLI = Callable[..., Said]


def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *verb: str) -> CLI:
    """Run `hneurons`, always with `verb` first."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["hneurons", *verb, *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        return Said(code, *capsys.readouterr())

    return run
