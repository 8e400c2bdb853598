"""Checks on a model before hours are spent on it, and how many hours and bytes they would be."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from hneurons.core.wording import count

if TYPE_CHECKING:
    from hneurons.models.language_model import LanguageModel

_QUESTIONS, _SAMPLES = 16, 4  # of the trial
_GB = 1e9
_BUSY = 1.3
"""From so many times as long on, something else uses the processor."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The run that is asked about: questions, samples of each, their longest length, and examples to be measured."""

    limit: int = 5000
    n: int = 10
    max_new_tokens: int = 50
    examples: int = 2000
    rows: int = 128


class Cost(NamedTuple):
    """What a run needs; memory is the highest of the trial.

    The hours are those of a machine that does nothing else; `slowdown` is how many times as long the trial took here.
    """

    sampling_hours: float
    measuring_hours: float
    memory: int
    disk: int
    slowdown: float = 1.0


class _Watch:
    """Times work: wall time on an accelerator, on a processor what the process's threads used of it.

    So other programs that want the same processor do not make a run look longer than it is. That time is divided by
    the number of threads, so what one thread does alone counts as if all had shared it.
    """

    def __init__(self, model: "LanguageModel") -> None:
        import torch

        self.threads = None if model.device.type != "cpu" else torch.get_num_threads()
        self.own = self.wall = 0.0

    def time(self, work: Callable[[], T]) -> tuple[T, float]:
        """What the work gives, and the seconds it takes on a machine that does nothing else."""
        wall, used = time.perf_counter(), time.process_time()
        found = work()
        wall, used = time.perf_counter() - wall, time.process_time() - used
        own = wall if self.threads is None else min(wall, used / self.threads)
        self.own, self.wall = self.own + own, self.wall + wall
        return found, own


def examine(model: str, wanted: Wanted, *, device: str | None) -> dict[str, Any]:
    """What a run would rely on, and a verdict. Raises the error that names the first thing that is wrong.

    It checks that

    - every decoder layer has one dense FFN;
    - prompts ask the question and end where the answer begins;
    - generated tokens map back to characters;
    - every hook fires once;
    - scaling by alpha = 1 leaves logits bit-equal.

    It also answers a few questions and measures the answers, and says from that what `wanted` would take.
    """
    import numpy as np
    import torch

    from hneurons.answers.token_offsets import token_offsets
    from hneurons.interventions.scaling import NeuronScaling
    from hneurons.interventions.steering import Steer
    from hneurons.models.language_model import load_model
    from hneurons.models.prompts import PromptStyle, render_prompt, uses_chat
    from hneurons.neurons.capture import ContributionMeter, Sequence
    from hneurons.neurons.neuron_set import NeuronSet

    loaded = load_model(model, device=device)
    style = PromptStyle()
    question = "What is the capital of France?"
    prompt = loaded.encode(question, style)
    tokenizer = loaded.tokenizer
    answer = "It's Zürich, 東京 or Paris."
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    text = tokenizer.decode(ids)
    offsets = token_offsets(tokenizer, ids, text)
    # Several tokens may share a character, but together they must reach every one.
    covered = {place for begin, end in offsets for place in range(begin, end)}
    missed = "".join(text[i] for i in range(len(text)) if i not in covered)
    sequence = Sequence([*prompt, *ids], (list(range(len(prompt), len(prompt) + len(ids))),))
    contributions = ContributionMeter(loaded, []).measure([sequence])
    inputs = torch.tensor([sequence.ids], device=loaded.device)
    first = np.arange(len(loaded.ffns)) * loaded.shape[1]
    probe = NeuronScaling(NeuronSet.from_columns(loaded.identity, first, np.ones(len(first)), data={}))
    with torch.inference_mode():
        plain = loaded.model(inputs).logits
        with Steer(loaded, probe.at(probe.no_op)):
            scaled = loaded.model(inputs).logits
        with Steer(loaded, probe.at(0.0)):
            silenced = loaded.model(inputs).logits
    exact = torch.equal(plain, scaled) and not torch.equal(plain, silenced)
    layers, neurons = loaded.shape
    finite = bool(torch.isfinite(contributions).all())
    faults = [
        fault
        for fault, there in (
            (f"generated tokens do not map to the characters {missed!r}", bool(missed)),
            ("contributions are not finite, so take --dtype float32", not finite),
            ("scaling by alpha = 1 changes the model, so interventions would not be measured right", not exact),
        )
        if there
    ]
    cost, free = measure_cost(loaded, wanted), shutil.disk_usage(os.curdir).free
    if cost.disk > free:
        faults.append(f"the disk has {free / _GB:.2f} GB free and {cost.disk / _GB:.2f} GB are needed")
    return {
        "verdict": state_verdict(faults, cost, wanted, device=str(loaded.device), free=free),
        "fit": not faults,
        "model": loaded.identity.to_row(),
        "device": str(loaded.device),
        "ffn": f"{layers} layers of {neurons} neurons, first {loaded.ffns[0].name}",
        "prompt": "chat template" if uses_chat(tokenizer, style) else "base format, stops at the line break",
        "prompt text": render_prompt(tokenizer, question, style),
        "prompt tokens": len(prompt),
        "window": loaded.window,
        "answer offsets": "every character covered" if not missed else f"not covered: {missed!r}",
        "contributions": "finite" if finite else "not finite: use float32",
        "alpha = 1": "bit-equal, alpha = 0 differs"
        if exact
        else "not exact: interventions would not be measured right",
        "hours": {"sampling": cost.sampling_hours, "contributions": cost.measuring_hours},
        "times as long at present": cost.slowdown,
        "bytes of memory": cost.memory,
        "bytes of disk": cost.disk,
        "bytes per example": _example_bytes(loaded),
        "bytes of contributions": _example_bytes(loaded) * wanted.examples,
    }


def _example_bytes(model: "LanguageModel") -> int:
    """A row of float16 for the answer and one for the other tokens."""
    layers, neurons = model.shape
    return 2 * 2 * layers * neurons


def measure_cost(model: "LanguageModel", wanted: Wanted) -> Cost:
    """Time a few answers and their contributions here, and multiply. All samples of every question are counted."""
    from hneurons.answers.questions import load_questions
    from hneurons.answers.responses import sample_responses
    from hneurons.core.rows import dump_json
    from hneurons.models.prompts import PromptStyle
    from hneurons.models.sampling import Sampling
    from hneurons.neurons.capture import ContributionMeter, Sequence

    style, sampling = PromptStyle(), Sampling(max_new_tokens=wanted.max_new_tokens)
    questions = load_questions("facts")[:_QUESTIONS]
    sample_responses(model, questions[:1], n=1, sampling=Sampling(max_new_tokens=2), style=style)  # first use is slow
    watch = _Watch(model)
    drawn, seconds = watch.time(
        lambda: sample_responses(model, questions, n=_SAMPLES, sampling=sampling, style=style, max_rows=wanted.rows)
    )
    each_answer = seconds / len(drawn.responses)
    prompts = {question.id: model.encode(question.text, style) for question in questions}
    sequences = []
    for response in drawn.responses[:: _SAMPLES // 2]:
        prompt = prompts[response.question_id]
        ids = [*prompt, *response.token_ids]
        sequences.append(Sequence(ids, (list(range(len(prompt), len(ids))), [len(prompt) - 1])))
    meter = ContributionMeter(model, [])
    batches = [sequences[first : first + 16] for first in range(0, len(sequences), 16)]
    _, seconds = watch.time(lambda: [meter.measure(batch) for batch in batches])
    each_example = seconds / len(sequences)
    row = sum(len(dump_json(response.to_row())) + 1 for response in drawn.responses) / len(drawn.responses)
    answers = wanted.limit * wanted.n
    return Cost(
        answers * each_answer / 3600,
        wanted.examples * each_example / 3600,
        _peak_memory(model),
        round(answers * row) + wanted.examples * _example_bytes(model),
        watch.wall / watch.own if watch.own else 1.0,
    )


def _peak_memory(model: "LanguageModel") -> int:
    """The most bytes that this process has held, on the model's own device."""
    import sys

    import torch

    if model.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(model.device))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def state_verdict(faults: list[str], cost: Cost, wanted: Wanted, *, device: str, free: int) -> str:
    """Whether a run can be started, and what it takes, in a few sentences. `free` is in bytes."""
    if faults:
        return f"Not fit for a run: {'; '.join(faults)}."
    busy = (
        f" The machine does other work at present, with which they would take {cost.slowdown:.1f} times as long."
        if cost.slowdown >= _BUSY
        else ""
    )
    return (
        f"Fit for a run. On {device}, {wanted.n} samples of each of {count(wanted.limit, 'question')} take up to "
        f"{_hours(cost.sampling_hours)}, and measuring {count(wanted.examples, 'example')} takes "
        f"{_hours(cost.measuring_hours)}, by {_QUESTIONS * _SAMPLES} answers that were timed just now on this "
        f"machine.{busy} Fitting and evaluating are not counted, and early stopping can make sampling much shorter. "
        f"Memory: {cost.memory / _GB:.1f} GB in this trial. Disk: {cost.disk / _GB:.2f} GB of {free / _GB:.0f} GB free."
    )


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else count(max(round(60 * hours), 1), "minute")
