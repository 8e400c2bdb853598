"""Converting a GGUF file and loading it again: processor seconds and peak memory, each in a process of its own.

Run: python bench/loading.py --model FILE.gguf
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import record

_SCRIPT = """
import os, resource, sys, time
os.environ["HNEURONS_CACHE"] = sys.argv[1]
from hneurons.models.language_model import load_model
start, clock = time.process_time(), time.perf_counter()
model = load_model(sys.argv[2], dtype=sys.argv[3], device="cpu")
size = sum(p.numel() * p.element_size() for p in model.model.parameters()) / 2**30
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(time.process_time() - start, time.perf_counter() - clock, peak, size)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    options = parser.parse_args()
    for dtype in ("float32", "bfloat16"):
        with tempfile.TemporaryDirectory() as cache:
            found = {}
            for name in ("first start, converts", "later start"):
                command = [sys.executable, "-c", _SCRIPT, cache, options.model, dtype]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[name] = [float(value) for value in done.stdout.split()]
        work, size = f"{Path(options.model).name} as {dtype}", next(iter(found.values()))[3]
        record(f"{work}: processor time to load", {name: [v[0]] for name, v in found.items()}, "s")
        record(f"{work}: time to load", {name: [v[1]] for name, v in found.items()}, "s")
        peaks = {"parameters": [size], **{f"peak memory, {name}": [v[2]] for name, v in found.items()}}
        record(f"{work}: memory", peaks, "GiB")


if __name__ == "__main__":
    main()
