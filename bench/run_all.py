"""Every measurement, each in a process of its own, into `bench/results.jsonl` and from there `bench/RESULTS.md`.

Run: python bench/run_all.py [SCRIPT ...]     (`make bench-peers` first, for the peers)

Named scripts replace their own lines only. `python bench/run_all.py none` writes the page again.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

from measuring import Line, describe

HERE = Path(__file__).parent
SCRIPTS = ("sampling", "contributions", "precision", "loading", "sweeps", "sparse_path", "whole_job")
PACKAGES = ("hneurons", "torch", "transformers", "numpy", "scikit-learn")
PEERS = ("hprobes", "adelie", "skglm", "xllamacpp")


def processor() -> str:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{names[0] if names else platform.processor()} ({', '.join(known)}), {os.cpu_count()} cores"


def peer_versions() -> str:
    python = HERE.parent / ".venv-peers" / "bin" / "python"
    if not python.is_file():
        return "none installed"
    code = f"from importlib.metadata import version as v; print(', '.join(f'{{p}} {{v(p)}}' for p in {PEERS}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip() or "incomplete"


def measure(script: str) -> list[dict[str, Any]]:
    """The lines of one script, marked with its name and the day."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lines.jsonl"
        environment = {**os.environ, "BENCH_OUT": str(out), "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, HERE / f"{script}.py"], check=True, env=environment)
        lines = out.read_text(encoding="utf-8").splitlines() if out.is_file() else []
    return [{"script": script, "date": date.today().isoformat(), **json.loads(line)} for line in lines]


def main() -> None:
    store = HERE / "results.jsonl"
    for script in [name for name in sys.argv[1:] or SCRIPTS if name in SCRIPTS]:
        print(f"== {script}", flush=True)
        found = measure(script)
        stored = store.read_text(encoding="utf-8").splitlines() if store.is_file() else []
        kept = [row for row in map(json.loads, stored) if row["script"] != script]
        rows = sorted([*kept, *found], key=lambda row: SCRIPTS.index(row["script"]))
        store.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    rows = [json.loads(line) for line in store.read_text(encoding="utf-8").splitlines()]
    lines = [Line(**{name: row[name] for name in Line._fields}) for row in rows]
    dates = " to ".join(sorted({min(row["date"] for row in rows), max(row["date"] for row in rows)}))
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    text = [
        "# Measurements",
        "",
        f"{dates}, {processor()}, one thread. {versions}. Peers: {peer_versions()}.",
        "",
        "The ways of doing one piece of work were timed in turn in one run, in processor time. Ratios are of medians,",
        "to the first way. `make bench-peers bench` makes this page.",
        "",
    ]
    for work in dict.fromkeys(line.work for line in lines):
        ways = [line for line in lines if line.work == work]
        text += [f"## {work}", "", f"| way | min / median / max, {ways[0].unit} | n | ratio |", "|---|---|---|---|"]
        text += [f"| {way.way} | {describe(way.values)} | {len(way.values)} | {way.ratio:.3g} |" for way in ways]
        text.append("")
    (HERE / "RESULTS.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
