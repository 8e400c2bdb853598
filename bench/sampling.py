"""Ten answers a question: ours against transformers' generate, and against llama.cpp where it is installed.

Useful tokens, up to and including the stop token, by second. Run: python bench/sampling.py
"""

import argparse
import json
import subprocess
from pathlib import Path

import torch
from measuring import Way, take_turns

from hneurons.answers.questions import load_questions
from hneurons.answers.questions.few_shot import few_shot_examples
from hneurons.models.checkpoints import PACKAGED
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.models.prefill import Prompts, prefill_shared
from hneurons.models.prompts import PromptStyle, common_prefix
from hneurons.models.sampling import Branch, Generation, Sampling, generate

PEERS = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
SAMPLES = 10


def ours(model: LanguageModel, prompts: list[list[int]], sampling: Sampling, stops: frozenset[int]) -> float:
    prefix = common_prefix(prompts)
    ready = Prompts(model, prompts, prefix, prefill_shared(model, prefix), sampling.top_k)
    done: list[Generation] = []
    branches = [Branch(place, (place, sample)) for place in range(len(prompts)) for sample in range(SAMPLES)]
    generate(model, ready, branches, sampling, stops, on_done=lambda branch, drawn: done.append(drawn) or ())
    return sum(len(drawn.token_ids) for drawn in done)


def stock(model: LanguageModel, prompts: list[list[int]], sampling: Sampling, stops: frozenset[int]) -> float:
    """Eight questions at a time, padded to the left."""
    torch.manual_seed(0)
    tokens = 0
    for first in range(0, len(prompts), 8):
        rows = prompts[first : first + 8]
        width = max(map(len, rows))
        out = model.model.generate(
            torch.tensor([[0] * (width - len(row)) + row for row in rows]),
            attention_mask=torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows]),
            do_sample=True,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_new_tokens,
            num_return_sequences=SAMPLES,
            eos_token_id=sorted(stops),
            pad_token_id=min(stops),
        )
        for row in out[:, width:].tolist():
            tokens += next((place + 1 for place, token in enumerate(row) if token in stops), len(row))
    return tokens


def llama_cpp(gguf: Path, prompts: list[list[int]], sampling: Sampling, stops: frozenset[int]) -> tuple[float, float]:
    """Eight answers at a time, each prompt's cache reused, by llama.cpp's server in a process of the peers."""
    asked = {"prompts": prompts, "samples": SAMPLES, "stops": sorted(stops), **sampling.to_row()}
    command = [str(PEERS), str(Path(__file__).with_name("peer_llama_cpp.py")), str(gguf)]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["tokens"], found["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(options.model, dtype="float32")
    questions = load_questions("facts", limit=options.questions)
    for shots, sampling in ((0, Sampling()), (5, Sampling(temperature=0.2, max_new_tokens=24))):
        style = PromptStyle(shots=few_shot_examples(shots, avoid=questions))
        prompts, stops = [model.encode(question.text, style) for question in questions], model.stops(style)

        def way(draw: object, given: object, sampling=sampling, prompts=prompts, stops=stops) -> Way:  # type: ignore[no-untyped-def]
            return lambda: draw(given, prompts, sampling, stops)  # type: ignore[operator, no-any-return]

        ways = {"hneurons": way(ours, model)}
        if not options.ours_only:
            ways["transformers, 8 questions x 10 at a time"] = way(stock, model)
            if PEERS.is_file():
                gguf = PACKAGED[options.model].gguf() if options.model in PACKAGED else Path(options.model)
                ways[f"llama.cpp, {gguf.name}"] = way(llama_cpp, gguf)
        asked = f"{len(prompts)} questions x {SAMPLES} answers at temperature {sampling.temperature}, {shots} shots"
        take_turns(f"{Path(options.model).name}: {asked}", ways, rounds=options.rounds, unit="tokens/s", warm=False)


if __name__ == "__main__":
    main()
