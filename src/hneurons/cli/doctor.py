"""Checks on a model before hours are spent on it."""

from typing import Any


def examine(model: str, *, examples: int, device: str | None) -> dict[str, Any]:
    """What a run would rely on. Raises the error that names the first thing that is wrong.

    It checks that

    - every decoder layer has one dense FFN;
    - prompts ask the question and end where the answer begins;
    - generated tokens map back to characters;
    - every hook fires once;
    - scaling by alpha = 1 leaves logits bit-equal.

    It also estimates the bytes that a run writes.
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
    row_bytes = 2 * layers * neurons
    return {
        "model": loaded.identity.to_row(),
        "device": str(loaded.device),
        "ffn": f"{layers} layers of {neurons} neurons, first {loaded.ffns[0].name}",
        "prompt": "chat template" if uses_chat(tokenizer, style) else "base format, stops at the line break",
        "prompt text": render_prompt(tokenizer, question, style),
        "prompt tokens": len(prompt),
        "window": loaded.window,
        "answer offsets": "every character covered" if not missed else f"not covered: {missed!r}",
        "contributions": "finite" if bool(torch.isfinite(contributions).all()) else "not finite: use float32",
        "alpha = 1": "bit-equal, alpha = 0 differs"
        if exact
        else "not exact: interventions would not be measured right",
        "bytes per example": 2 * row_bytes,
        "bytes of contributions": 2 * row_bytes * examples,
    }
