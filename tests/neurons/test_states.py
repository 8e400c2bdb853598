"""The residual stream, the neurons before the answer and token entropies, against a plain forward pass a example."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hneurons.core.errors import ArtifactError, NotEnoughDataError
from hneurons.core.timing import read_timing
from hneurons.core.types import Example, Question, Response
from hneurons.models.prompts import PromptStyle
from hneurons.neurons.states import PLACES, load_states, measure_states
from support.planted import read_tree
from support.tiny_models import tiny_model

STYLE = PromptStyle(shots=(("Who?", "Nobody"),))


def make_examples(n: int) -> list[Example]:
    rng = np.random.default_rng(n)
    examples = []
    for i in range(n):
        ids = tuple(int(t) for t in rng.integers(40, 256, size=rng.integers(2, 10)))
        begin = int(rng.integers(0, len(ids) - 1))
        span = (begin, int(rng.integers(begin + 1, len(ids))))
        question = Question(f"q{i}", "What is " + "very " * (i % 4) + "late?", ("a",))
        verdict = "incorrect" if i % 2 else "correct"
        examples.append(Example(question, Response(f"q{i}", 0, "text", ids), verdict, "train", (0, 4), span))
    return examples


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@torch.inference_mode()
def test_states_are_those_of_a_plain_forward_pass(family: str) -> None:
    model = tiny_model(family)
    examples = make_examples(9)
    found = measure_states(model, examples, style=STYLE, batch_size=4)
    numbers = found.numbers(examples)
    assert numbers is not None and sorted(numbers) == list(range(9))
    for example, number in zip(examples, numbers, strict=True):
        prompt = model.encode(example.question.text, STYLE)
        begin, end = (len(prompt) + place for place in example.token_span)  # type: ignore[union-attr]
        passed = model.model(torch.tensor([[*prompt, *example.response.token_ids]]), output_hidden_states=True)
        for layer, states in enumerate(passed.hidden_states):
            expected = states[0, begin:end].mean(0), states[0, end - 1], states[0, len(prompt) - 1]
            for place, values in zip(PLACES, expected, strict=True):
                np.testing.assert_allclose(found.read(place, layer, [number])[0], values, atol=2e-3, rtol=2e-3)
        entropies = torch.distributions.Categorical(logits=passed.logits[0, begin - 1 : end - 1].double()).entropy()
        row = found.rows[number]
        assert row["mean_entropy"] == pytest.approx(float(entropies.mean()), abs=1e-3)
        assert row["largest_entropy"] == pytest.approx(float(entropies.max()), abs=1e-3)


def test_neurons_before_the_answer_are_the_contributions_of_the_last_prompt_token() -> None:
    """Measured as an answer of one token: the last prompt token moved to the front of the response."""
    model = tiny_model("llama")
    examples = make_examples(5)
    found = measure_states(model, examples, style=STYLE)
    prompt = [model.encode(e.question.text, STYLE) for e in examples]
    from hneurons.neurons.capture import ContributionMeter, Sequence

    meter = ContributionMeter(model, [], regions=1)
    expected = meter.measure([Sequence(ids, ([len(ids) - 1],)) for ids in prompt])[:, 0].flatten(1)
    numbers = found.numbers(examples)
    assert numbers is not None
    values = found.before(numbers).gather(np.arange(expected.shape[1]), 1 << 20).T
    np.testing.assert_allclose(values, expected, atol=1e-3)


def test_states_are_kept_resumed_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, examples = tiny_model("llama"), make_examples(7)
    monkeypatch.setattr("hneurons.neurons.states.SHARD_EXAMPLES", 3)
    memory = measure_states(model, examples, style=STYLE)
    whole = measure_states(model, examples, style=STYLE, out=tmp_path / "whole")
    calls: list[int] = []

    def stop(*args: object) -> dict[str, bytes]:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return original(*args)  # type: ignore[arg-type]

    from hneurons.neurons import states

    original = states._files
    with monkeypatch.context() as patch:
        patch.setattr(states, "_files", stop)
        with pytest.raises(KeyboardInterrupt):
            measure_states(model, examples, style=STYLE, out=tmp_path / "cut")
    measure_states(model, examples, style=STYLE, out=tmp_path / "cut")
    assert read_tree(tmp_path / "cut") == read_tree(tmp_path / "whole")
    assert read_timing(tmp_path / "cut")["states"].items >= 7 and read_timing(tmp_path / "whole")["states"].passes == 7
    assert load_states(tmp_path / "cut").content == whole.content == memory.content
    for place in PLACES:
        assert np.array_equal(whole.read(place, 1, [6, 0]), memory.read(place, 1, [6, 0]))
    columns = np.arange(memory.before([0]).shape[1])
    assert np.array_equal(whole.before([5, 1]).gather(columns, 1 << 20), memory.before([5, 1]).gather(columns, 1 << 20))


def test_ctrl_c_keeps_every_finished_batch_of_the_open_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hneurons.neurons.states import _Reader

    model, examples = tiny_model("llama"), make_examples(7)
    measure_states(model, examples, style=STYLE, batch_size=2, out=tmp_path / "whole")
    read, calls = _Reader.read, list[int]()

    def stop(reader: _Reader, numbers: list[int]) -> object:
        calls.append(len(numbers))
        if len(calls) in (3, 4):
            raise KeyboardInterrupt
        return read(reader, numbers)

    monkeypatch.setattr(_Reader, "read", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            measure_states(model, examples, style=STYLE, batch_size=2, out=tmp_path / "cut")
    measure_states(model, examples, style=STYLE, batch_size=2, out=tmp_path / "cut")
    assert len(calls) == 4 + 2
    assert read_tree(tmp_path / "cut") == read_tree(tmp_path / "whole")


def test_without_spans_there_is_nothing_to_read() -> None:
    with pytest.raises(NotEnoughDataError, match="none of 0 examples"):
        measure_states(tiny_model("llama"), [], style=STYLE)


def test_a_damaged_file_of_states_is_one_sentence(tmp_path: Path) -> None:
    examples = make_examples(4)
    measure_states(tiny_model("llama"), examples, style=STYLE, out=tmp_path)
    found = load_states(tmp_path)
    for path in tmp_path.glob("residual-*.safetensors"):
        path.write_bytes(path.read_bytes()[:8] + b'{"a": ""}')
    with pytest.raises(ArtifactError, match="is damaged or of another version"):
        found.read(PLACES[0], 1, [0])
