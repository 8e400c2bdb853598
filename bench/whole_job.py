"""From recorded answers to fitted neurons: ours against hprobes on the same answers, in processor time and memory.

Answers are drawn and judged once. Each way then runs in a process of its own, on one thread: the contributions of all
neurons on answer and other tokens, and a fit on them. Ours fits a path, cross-validated, and 50 half-samples; hprobes
fits one penalty. Run: python bench/whole_job.py     (`make bench-peers` first)
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import record

import hneurons as hn

PEERS = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
MEASURED = """
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([time.process_time() - start, peak / 2**20]))
"""
OURS = """
import json, sys, time
from pathlib import Path
import torch
import hneurons as hn
from hneurons.answers.selection import load_examples
torch.set_num_threads(1)
model = hn.load_model(sys.argv[1], dtype=sys.argv[2])
examples = load_examples(Path(sys.argv[1], "located"), stage="spans").examples
start = time.process_time()
contributions = hn.measure_contributions(model, examples, style=hn.PromptStyle(), out=Path(sys.argv[1], sys.argv[2]))
hn.fit_detector(contributions, labels="3-vs-1", subsamples=int(sys.argv[3]))
"""
THEIRS = """
import json, sys, time
import torch
from hprobes import HProbes
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=getattr(torch, sys.argv[2])).eval()
samples = json.load(open(sys.argv[1] + "/answers.json"))
start = time.process_time()
HProbes(model, AutoTokenizer.from_pretrained(sys.argv[1]), batch_size=8).fit_from_responses(samples)
"""


def draw(model: hn.LanguageModel, wanted: int, folder: Path) -> int:
    """Store `wanted` examples with a located answer, or as many as there are, in both forms. Returns how many."""
    questions = hn.load_questions("facts", limit=4 * wanted)
    sampling = hn.Sampling(temperature=0.2, max_new_tokens=24)
    drawn = hn.sample_responses(model, questions, n=1, sampling=sampling)
    verdicts = hn.label_responses(questions, drawn.responses)
    chosen = hn.select_examples(questions, drawn.responses, verdicts.judgements, n=1, per_class=wanted // 2)
    located = hn.locate_answers(chosen.examples, tokenizer=model.tokenizer, out=folder / "located").examples
    rows = [
        {
            "question": example.question.text,
            "response": example.response.text,
            "answer_tokens": model.tokenizer.convert_ids_to_tokens(
                example.response.token_ids[slice(*example.token_span)]
            ),
            "judge": not example.hallucinated,
        }
        for example in located
        if example.token_span
    ]
    (folder / "answers.json").write_text(json.dumps(rows), encoding="utf-8")
    return len(rows)


def run(python: str | Path, script: str, *arguments: str) -> tuple[float, float]:
    """Processor seconds and GiB of a script in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [str(python), "-c", script + MEASURED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--answers", type=int, default=358)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = hn.load_model(options.model, dtype="float32")
        model.model.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
        count = draw(model, options.answers, folder)
        ways = {
            "hneurons, float32": (sys.executable, OURS, "float32", "50"),
            "hneurons, float32, without half-samples": (sys.executable, OURS, "float32", "0"),
            "hneurons, bfloat16": (sys.executable, OURS, "bfloat16", "50"),
        }
        if PEERS.is_file():
            ways = {"hprobes, float32, 8 at a time": (PEERS, THEIRS, "float32"), **ways}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        memory: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, (python, script, *arguments) in ways.items():
                for stale in ("float32", "bfloat16"):
                    subprocess.run(["rm", "-rf", str(folder / stale)], check=True)
                taken, peak = run(python, script, str(folder), *arguments)
                seconds[way].append(taken)
                memory[way].append(peak)
    work = f"{Path(options.model).name}: contributions and fit of {count} recorded answers"
    record(f"{work}, time", seconds, "s")
    record(f"{work}, peak memory of the process", memory, "GiB")


if __name__ == "__main__":
    main()
