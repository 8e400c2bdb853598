"""Every measurement, each in a process of its own, into `bench/results.jsonl` and from there `bench/RESULTS.md`.

Run: python bench/run_all.py [SCRIPT[:MODEL] ...]     (`make bench-peers` first, for the peers)

Named scripts replace their own lines only; `loading:FILE.gguf` measures another model. `python bench/run_all.py none`
writes the page again.
"""

import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

from measuring import Line, describe

HERE = Path(__file__).parent
SCRIPTS = (
    "sampling",
    "contributions",
    "precision",
    "loading",
    "sweeps",
    "sparse_path",
    "scores",
    "scoring",
    "abstention",
    "drift",
    "whole_job",
    "demo",
)
PACKAGES = ("hneurons", "torch", "transformers", "numpy", "scikit-learn")
PEERS = ("hprobes", "adelie", "skglm", "xllamacpp")


class Goal(NamedTuple):
    """What one line should reach, by words in the names of its work and way."""

    work: str
    way: str
    of: Literal["ratio", "median"]
    low: float
    high: float
    why: str
    """What bounds it, said where it is missed."""

    def judge(self, line: Line) -> str:
        """The target and whether this line meets it; empty where the goal is another line's."""
        if self.work not in line.work or not line.way.startswith(self.way):
            return ""
        value = line.ratio if self.of == "ratio" else median(line.values)
        target = f"at least {self.low:g}" if self.high == math.inf else f"at most {self.high:g}"
        unit = f" {line.unit}" if self.of == "median" else " of the first"
        return f"{target}{unit}: " + ("met" if self.low <= value <= self.high else f"missed. {self.why}")


GOALS = (
    Goal("10 answers", "transformers", "ratio", 0, 0.25, "Without examples little of a prompt is shared."),
    Goal("10 answers", "llama.cpp", "ratio", 0, 0.25, "Its weights have four bits, and no prefix is shared."),
    Goal("contributions of", "contributions, whole", "ratio", 0.95, math.inf, "A reused prefix more than makes up."),
    Goal("seven response", "the other way", "ratio", 4, math.inf, "Each condition draws replies of its own."),
    Goal("sparse path, 4,000", "hneurons", "median", 0, 1.0, "It is bound by memory, which other work shared."),
    Goal("sparse path, 2,000 x 348,160, standard", "hneurons", "median", 0, 2.5, "Its sweeps are bound by memory."),
    Goal("sparse path, 2,000 x 2,293,760", "hneurons", "median", 0, 25.0, "Its three sweeps read 28 GB."),
    Goal(
        "recorded answers, time",
        "hneurons, float32",
        "ratio",
        0,
        0.25,
        "Half-samples take a tenth of it, contributions and path the rest.",
    ),
    Goal("recorded answers, time", "hneurons, bfloat16", "ratio", 0, 0.25, "Contributions and path take most of it."),
    Goal(
        "recorded answers, peak",
        "hneurons",
        "median",
        0,
        1.2,
        "Half-samples take 0.2 GiB of it; the model in float32 alone 0.5.",
    ),
    Goal("scores of", "states and all", "ratio", 0, 2.0, "The states are a pass of their own."),
    Goal("scores of", "P(True)", "ratio", 0, 1.0, "Its prompt behind the shared beginning is 1.6 times as long."),
    Goal("demo", "wall time", "median", 0, 180.0, "Sampling takes most of it."),
    Goal("1.5b", "first start", "median", 0, 90.0, "Converting runs on one core."),
    Goal("1.5b", "later start", "median", 0, 10.0, "It is bound by the disk."),
    Goal("scoring 48 answers, batches of 16, speed", "hneurons", "ratio", 0.9, math.inf, "Logits take the rest."),
    Goal("scoring 48 answers, batches of 16, diff", "largest", "median", 0, 1e-3, "Contributions are kept in float16."),
    Goal("abstain", "draws that break", "median", 0, 0.127, "The proof assumes that risk does not fall."),
    Goal("abstain, answered share", "MAPIE", "ratio", 0, 1.0, "Its thresholds are fixed beforehand."),
    Goal(
        "drift, draws with an alarm", "the same domain", "median", 0, 0.1, "An alarm is false in one of twenty draws."
    ),
    Goal(
        "drift, draws with an alarm", "log odds higher by a st", "median", 0.9, math.inf, "The labelled ones are few."
    ),
    Goal("drift, draws with an alarm", "other neurons", "median", 0.9, math.inf, "The labelled ones are few."),
    Goal("memory", "peak memory, first start", "ratio", 0, 1.3, "The libraries count, and this model is small."),
)


def judge_line(line: Line) -> str:
    """The first goal that is for this line, judged; empty where it has none."""
    return next((text for goal in GOALS if (text := goal.judge(line))), "")


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


def measure(script: str, model: str) -> list[dict[str, Any]]:
    """The lines of one script, marked with its name and the day."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lines.jsonl"
        environment = {**os.environ, "BENCH_OUT": str(out), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(HERE / f"{script}.py"), *(["--model", model] if model else [])]
        subprocess.run(command, check=True, env=environment)
        lines = out.read_text(encoding="utf-8").splitlines() if out.is_file() else []
    key = ":".join(filter(None, (script, Path(model).name)))
    return [{"script": key, "date": date.today().isoformat(), **json.loads(line)} for line in lines]


def main() -> None:
    store = HERE / "results.jsonl"
    for asked in [name for name in sys.argv[1:] or SCRIPTS if name.partition(":")[0] in SCRIPTS]:
        print(f"== {asked}", flush=True)
        script, _, model = asked.partition(":")
        found = measure(script, model)
        stored = store.read_text(encoding="utf-8").splitlines() if store.is_file() else []
        kept = [row for row in map(json.loads, stored) if not found or row["script"] != found[0]["script"]]
        rows = sorted([*kept, *found], key=lambda row: SCRIPTS.index(row["script"].partition(":")[0]))
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
        text += [
            f"## {work}",
            "",
            f"| way | min / median / max, {ways[0].unit} | n | ratio | target |",
            "|---|---|---|---|---|",
        ]
        text += [
            f"| {way.way} | {describe(way.values)} | {len(way.values)} | {way.ratio:.3g} | {judge_line(way)} |"
            for way in ways
        ]
        text.append("")
    (HERE / "RESULTS.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
