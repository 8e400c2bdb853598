"""What scaling costs a token, and a sweep in shared batches against one run after the other.

Prints milliseconds a token with and without hooks, the time of the sweep over that of separate runs (one alpha at a
time, and one item at a time as a plain script does), whether all gave the same tokens, and what following the running
risk adds. All times are processor time, so that a busy machine does not change them much.
Run: python bench/interventions.py
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np
import torch

from hneurons.benchmarks import load_items
from hneurons.detection.detector import Detector
from hneurons.interventions.gate import RiskAbove
from hneurons.interventions.scaling import NeuronScaling, ScaleNeurons
from hneurons.interventions.steering import Steer
from hneurons.models.drawing import draw_steered
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.models.prompts import PromptStyle, alternate, encode_turns
from hneurons.models.sampling import Branch, Generation, Sampling
from hneurons.neurons.neuron_set import NeuronSet

ALPHAS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
Tokens = dict[tuple[int, float], tuple[int, ...]]


def draw(
    model: LanguageModel,
    neurons: NeuronSet,
    prompts: list[list[int]],
    alphas: Sequence[float],
    sampling: Sampling,
    when: RiskAbove | None = None,
) -> Tokens:
    """Greedy replies to all prompts under all alphas, in one queue."""
    found: Tokens = {}
    steering = Steer(model, [NeuronScaling(neurons, alpha, when=when) for alpha in alphas])

    def keep(branch: Branch, generation: Generation) -> tuple[Branch, ...]:
        found[branch.prompt, alphas[branch.condition]] = generation.token_ids
        return ()

    with steering:
        branches = [Branch(p, (p,), c) for p in range(len(prompts)) for c in range(len(alphas))]
        draw_steered(
            model, prompts, branches, sampling, model.stops(PromptStyle()), on_done=keep, steering=steering,
            conditions=len(alphas),
        )  # fmt: skip
    return found


@torch.inference_mode()
def time_pass(model: LanguageModel, neurons: NeuronSet | None, rows: int, tokens: int, repeats: int = 5) -> float:
    """Seconds of processor time of one forward pass, the best of some."""
    ids = torch.randint(5, 4000, (rows, tokens), generator=torch.Generator().manual_seed(0), device="cpu").to(
        model.device
    )
    alphas = torch.linspace(0, 3, rows)[:, None]
    times = []
    for _ in range(repeats):
        start = time.process_time()
        if neurons is None:
            model.model(ids)
        else:
            with ScaleNeurons(model, neurons, alphas):
                model.model(ids)
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--items", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--neurons", type=int, default=40)
    options = parser.parse_args()
    model = load_model(options.model)
    rng = np.random.default_rng(0)
    columns = rng.choice(model.shape[0] * model.shape[1], options.neurons, replace=False)
    neurons = NeuronSet.from_columns(model.identity, columns, np.ones(len(columns)), data={})
    for rows, tokens in ((8, 1), (64, 1), (4, 64)):
        bare, hooked = time_pass(model, None, rows, tokens), time_pass(model, neurons, rows, tokens)
        print(
            f"{rows} rows x {tokens} tokens: {1000 * bare / rows / tokens:.3f} ms a token, "
            f"hooks {hooked / bare - 1:+.1%}"
        )

    _, items = load_items("nonexist", limit=options.items)
    prompts = [encode_turns(model.tokenizer, alternate(item.turns)) for item in items]
    sampling = Sampling(temperature=0, top_k=1, max_new_tokens=options.tokens)
    start = time.process_time()
    together = draw(model, neurons, prompts, ALPHAS, sampling)
    sweep = time.process_time() - start
    start, apart = time.process_time(), {}
    for alpha in ALPHAS:
        apart |= draw(model, neurons, prompts, (alpha,), sampling)
    by_alpha = time.process_time() - start
    start, single = time.process_time(), {}
    for alpha in ALPHAS:
        for place, prompt in enumerate(prompts):
            single[place, alpha] = draw(model, neurons, [prompt], (alpha,), sampling)[0, alpha]
    by_item = time.process_time() - start
    print(f"{len(items)} items x {len(ALPHAS)} alphas, {options.tokens} tokens: {sweep:.1f} s in one queue")
    for name, seconds, tokens_found in (("one run an alpha", by_alpha, apart), ("one item at a time", by_item, single)):
        same = sum(together[key] == tokens_found[key] for key in together)
        print(
            f"  {name}: {seconds:.1f} s, the sweep takes {sweep / seconds:.2f} of it; "
            f"equal tokens in {same} of {len(together)}"
        )
    ones = np.ones(len(columns))
    detector = Detector(model.identity, columns, rng.normal(size=len(columns)), ones, ones, 0.0, 0.0, {}, {})
    times = {}
    for threshold in (None, 0.0):
        when = None if threshold is None else RiskAbove(detector, threshold)
        start = time.process_time()
        draw(model, neurons, prompts, ALPHAS, sampling, when)
        times[threshold] = time.process_time() - start
    print(f"  following the running risk adds {times[0.0] / times[None] - 1:+.1%}")


if __name__ == "__main__":
    main()
