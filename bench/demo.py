"""The demo of the Makefile as a user runs it: wall time with all threads, and processor time.

Run: python bench/demo.py
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import record

MAKEFILE = Path(__file__).parents[1] / "Makefile"


def demo_arguments(out: Path) -> list[str]:
    """The arguments of `hneurons run` in the recipe of `make demo`."""
    recipe = MAKEFILE.read_text(encoding="utf-8").partition("\ndemo:")[2].partition("\n\n")[0]
    words = recipe.partition("hneurons run")[2].replace("\\\n", " ").split()
    return ["run", *(str(out) if word == "$(OUT)" else word for word in words)]


def main() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, "-m", "hneurons", *demo_arguments(Path(folder) / "demo")]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    record("demo, all threads", {"wall time": [wall], "processor time": [used.ru_utime + used.ru_stime]}, "s")


if __name__ == "__main__":
    main()
