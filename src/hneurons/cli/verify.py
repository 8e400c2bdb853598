"""`hneurons verify`: is everything that was stored still what was written?"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hneurons.cli.output import echo

if TYPE_CHECKING:
    from hneurons.core.verification import FileCheck


def verify(
    path: Annotated[Path, typer.Argument(help="Folder of a run, a stage, a detector, a neuron set or a release.")],
    as_json: Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")] = False,
) -> None:
    """Check every stored file below a folder against its recorded hash; exits with 1 where something is damaged."""
    from hneurons.cli.output import print_json
    from hneurons.runs.verification import verify_stored

    checks = verify_stored(path)
    damaged = [check for check in checks if check.state == "damaged"]
    if as_json:
        print_json({"folder": str(path), "counts": Counter(check.state for check in checks), "files": checks})
    else:
        print_checks(checks)
    if damaged:
        raise typer.Exit(1)


def print_checks(checks: "list[FileCheck]") -> None:
    """What is damaged or unfinished, a line each, and how many files are in which state."""
    for check in checks:
        if check.state in ("damaged", "unfinished"):
            echo(f"{check.state}: {check.path} ({check.reason})")
    counts = Counter(check.state for check in checks)
    said = ", ".join(f"{counts[state]} {state}" for state in ("whole", "unchecked", "unfinished", "damaged"))
    echo(f"{len(checks)} files: {said}")
    if counts["unchecked"]:
        echo("No hash of the unchecked files was recorded, so a change in them would not be seen; --json names them.")
