"""The command line: one verb a stage, each calling the library function of the same name."""

import sys

STOPPED = "hneurons: stopped; run the same command again to resume"


def main() -> None:
    """Entry point: any `HNeuronsError` becomes one sentence and its exit code, Ctrl-C a hint how to go on."""
    try:
        _run()
    except KeyboardInterrupt:  # while modules are still being read, before typer takes it
        print(STOPPED, file=sys.stderr)
        sys.exit(130)


def _run() -> None:
    from hneurons.cli.app import app
    from hneurons.core.errors import HNeuronsError
    from hneurons.core.wording import printable

    try:
        app()
    except HNeuronsError as error:
        print(f"hneurons: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C
            print(STOPPED, file=sys.stderr)
        raise
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        print("hneurons: out of memory: lower --rows, or choose a smaller model or --dtype bfloat16", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(141)
