"""CETT against its literal definition, one neuron at a time in float64; padding, prefixes, hooks, shards."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hneurons.core.artifacts import RowStore
from hneurons.core.errors import ArtifactError, CaptureError, InputError, NotEnoughDataError
from hneurons.core.types import Example, Question, Response
from hneurons.core.verification import verify_folder
from hneurons.models.prompts import PromptStyle
from hneurons.neurons import contributions as contributions_module
from hneurons.neurons.capture import ContributionMeter, RegionSums, Sequence, capturing
from hneurons.neurons.contributions import Contributions, load_contributions, measure_contributions
from hneurons.neurons.signals import SIGNALS
from support.planted import read_tree
from support.tiny_models import DENSE, SHELLS, tiny_model

STYLE = PromptStyle(shots=(("Who?", "Nobody"),))


def make_examples(n: int, *, seed: int = 0) -> list[Example]:
    """Responses of 2 to 9 random tokens with an answer somewhere in them."""
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(n):
        ids = tuple(int(t) for t in rng.integers(40, 256, size=rng.integers(2, 10)))
        begin = int(rng.integers(0, len(ids) - 1))
        end = int(rng.integers(begin + 1, len(ids)))
        examples.append(
            Example(
                Question(f"q{i}", "What is " + "very " * int(rng.integers(0, 6)) + "late?", ("a",)),
                Response(f"q{i}", 0, "text", ids, (-1.0,) * len(ids)),
                "incorrect" if i % 2 else "correct",
                char_span=(0, 4),
                token_span=(begin, end),
            )
        )
    return examples


@torch.inference_mode()
def literal_cett(model: Any, ids: list[int]) -> NDArray[np.float64]:
    """CETT[layer, neuron, token] of one sequence: the norm of the output when only that neuron speaks, over the norm
    of the whole output (arXiv 2512.01797, section 2.2)."""
    double = model.model.double()
    seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    handles = [
        ffn.down.register_forward_hook(
            lambda module, inputs, output, layer=ffn.layer: seen.update(
                {layer: (inputs[0].reshape(len(ids), -1), output.reshape(len(ids), -1))}
            )
        )
        for ffn in model.ffns
    ]
    double(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    result = np.zeros((*model.shape, len(ids)))
    for ffn in model.ffns:
        z, h = seen[ffn.layer]
        silence = ffn.down(torch.zeros_like(z))
        for neuron in range(ffn.neurons):
            alone = torch.zeros_like(z)
            alone[:, neuron] = z[:, neuron]
            spoken = (ffn.down(alone) - silence).norm(dim=-1)
            result[ffn.layer, neuron] = (spoken / h.norm(dim=-1)).numpy()
    model.model.float()
    return result


def expected_rows(model: Any, example: Example, other: str) -> dict[str, NDArray[np.float64]]:
    prompt = model.encode(example.question.text, STYLE)
    cett = literal_cett(model, [*prompt, *example.response.token_ids])
    assert example.token_span is not None
    begin, end = (len(prompt) + place for place in example.token_span)
    answer = np.zeros(cett.shape[-1], dtype=bool)
    answer[begin:end] = True
    counted = np.arange(cett.shape[-1]) >= (0 if other == "sequence" else len(prompt))
    regions = {"answer": answer, "other": ~answer & counted}
    return {name: cett[:, :, mask].mean(-1).ravel() for name, mask in regions.items() if mask.any()}


def values_by_id(found: Contributions) -> dict[str, NDArray[np.float64]]:
    matrix = found.matrix()
    columns = np.arange(found.shape[0] * found.shape[1])
    values = matrix.gather(columns, 1 << 24).T.astype(np.float64)
    return {row["id"]: value for row, value in zip(found.rows, values, strict=True)}


@pytest.mark.parametrize("family", [*DENSE, *SHELLS])
@pytest.mark.parametrize("other", ["response", "sequence"])
def test_contributions_are_those_of_the_literal_definition(family: str, other: Any) -> None:
    model, examples = tiny_model(family), make_examples(3)
    found = values_by_id(measure_contributions(model, examples, style=STYLE, other=other, batch_size=3))
    for example in examples:
        for region, expected in expected_rows(model, example, other).items():
            np.testing.assert_allclose(found.pop(f"{example.id}/{region}"), expected, rtol=2e-3, atol=1e-5)
    assert not found


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "opt"])
def test_padding_and_company_do_not_leak_into_a_row(family: str) -> None:
    model, examples = tiny_model(family), make_examples(9)
    alone = values_by_id(measure_contributions(model, examples, style=STYLE, batch_size=1))
    for size in (4, 9):
        together = values_by_id(measure_contributions(model, examples, style=STYLE, batch_size=size))
        assert list(together) == list(alone)
        for name in alone:
            np.testing.assert_allclose(together[name], alone[name], rtol=3e-3, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox", "opt"])
@pytest.mark.parametrize("regions", ["response", "everything"])
def test_the_shared_prefix_changes_nothing(family: str, regions: str) -> None:
    model = tiny_model(family)
    rng = np.random.default_rng(0)
    shared = rng.integers(40, 256, size=11).tolist()
    batch = []
    for size in (6, 3, 9):
        ids = [*shared, *rng.integers(40, 256, size=size).tolist()]
        rest = range(0 if regions == "everything" else 13, len(ids))
        batch.append(Sequence(ids, ([12], [i for i in rest if i != 12])))
    plain = ContributionMeter(model, []).measure(batch)
    meter = ContributionMeter(model, shared)
    for prefixed in (meter.measure(batch), meter.measure(batch), meter.measure(batch[:2])):
        torch.testing.assert_close(prefixed, plain[: len(prefixed)], rtol=1e-4, atol=1e-5)


def test_a_region_that_counts_part_of_the_prefix_is_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(CaptureError, match="all of the shared prefix or none"):
        ContributionMeter(model, [50, 51, 52]).measure([Sequence([50, 51, 52, 53], ([3], [1, 2]))])


def test_an_empty_region_is_nan_in_the_measurement_and_no_row_but_counted() -> None:
    model = tiny_model("llama")
    measured = ContributionMeter(model, []).measure([Sequence([50, 51, 52], ([2], [])), Sequence([50, 51], ([1], [0]))])
    assert torch.isnan(measured[0, 1]).all()
    assert torch.isfinite(measured[0, 0]).all() and torch.isfinite(measured[1]).all()
    examples = make_examples(4)
    whole = Response("q0", 0, "text", (60, 61), (-1.0, -1.0))
    examples[0] = Example(examples[0].question, whole, "correct", char_span=(0, 4), token_span=(0, 2))
    examples[1] = Example(examples[1].question, examples[1].response, "incorrect")  # not located
    found = measure_contributions(model, examples, style=STYLE)
    assert found.summary["no_span"] == 1
    assert found.summary["empty_regions"] == 1
    assert found.summary["rows"] == len(found.rows) == 5
    assert "q0#0/other" not in {row["id"] for row in found.rows}
    assert found.summary["rows_by_region"] == {
        "answer of right": 2,
        "answer of wrong": 1,
        "other of right": 1,
        "other of wrong": 1,
    }


def test_rows_say_what_they_are() -> None:
    model, examples = tiny_model("llama"), make_examples(4)
    found = measure_contributions(model, examples, style=STYLE)
    by_id = {e.id: e for e in examples}
    assert len(found.rows) == 8
    for row in found.rows:
        example = by_id[row["example_id"]]
        assert example.token_span is not None
        size = example.token_span[1] - example.token_span[0]
        assert row["question_id"] == row["group"] == example.question.id
        assert row["hallucinated"] == example.hallucinated
        assert row["tokens"] == (size if row["region"] == "answer" else len(example.response.token_ids) - size)


def test_the_order_of_the_examples_changes_no_row() -> None:
    model, examples = tiny_model("llama"), make_examples(11)
    first = measure_contributions(model, examples, style=STYLE, batch_size=4)
    second = measure_contributions(model, examples[::-1], style=STYLE, batch_size=4)
    assert first.rows == second.rows
    assert np.array_equal(values_by_id(first)["q3#0/answer"], values_by_id(second)["q3#0/answer"])
    assert first.values is not None and second.values is not None and np.array_equal(first.values, second.values)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_model_is_bit_equal_after_a_measurement_and_after_a_failed_one(family: str) -> None:
    model = tiny_model(family)
    ids = torch.tensor([[50, 60, 70]])
    with torch.inference_mode():
        before = model.model(ids).logits.clone()
    state = {k: v.clone() for k, v in model.model.state_dict().items()}
    measure_contributions(model, make_examples(3), style=STYLE)
    with (
        pytest.raises(ZeroDivisionError),
        capturing(model, RegionSums(torch.ones(1, 1, 3), 0, model, SIGNALS.get("cett"))),
    ):
        raise ZeroDivisionError
    with torch.inference_mode():
        assert torch.equal(model.model(ids).logits, before)
    assert all(torch.equal(v, state[k]) for k, v in model.model.state_dict().items())
    assert not any(ffn.down._forward_hooks for ffn in model.ffns)


def test_a_hook_removed_by_another_library_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    forward = model.decoder.forward

    def forgetful(*args: Any, **kwargs: Any) -> Any:
        model.ffns[1].down._forward_hooks.clear()
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.decoder, "forward", forgetful)
    with pytest.raises(CaptureError, match="layer 1: 0 times"):
        measure_contributions(model, make_examples(2), style=STYLE)


def test_a_hook_that_fires_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    mlp = model.model.model.layers[2].mlp
    forward = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda x: (forward(x), forward(x))[1])
    with pytest.raises(CaptureError, match="layer 2: 2 times"):
        measure_contributions(model, make_examples(2), style=STYLE)


def test_values_that_are_not_finite_are_refused_by_the_example() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.ffns[0].down.weight.mul_(float("inf"))
    with pytest.raises(CaptureError, match=r"example q.*not finite"):
        measure_contributions(model, make_examples(2), style=STYLE)


def test_no_located_example_too_long_a_prompt_and_an_unknown_region_are_one_sentence() -> None:
    model, examples = tiny_model("gpt2"), make_examples(2)
    bare = [Example(e.question, e.response, e.verdict) for e in examples]
    with pytest.raises(NotEnoughDataError, match="none of 2 examples has an answer span"):
        measure_contributions(model, bare, style=STYLE)
    with pytest.raises(InputError, match="known are response, sequence"):
        measure_contributions(model, examples, style=STYLE, other="prompt")  # type: ignore[arg-type]
    prompt = min(len(model.encode(e.question.text, STYLE)) for e in examples)
    model.model.config.max_position_embeddings = model.model.config.n_positions = prompt
    del model.__dict__["window"]
    with pytest.raises(NotEnoughDataError, match="can read none of 2 answers: 2 do not fit its window"):
        measure_contributions(model, examples, style=STYLE)


def test_recorded_answers_that_do_not_fit_or_have_unknown_tokens_are_counted_and_named() -> None:
    model, (good, long, strange) = tiny_model("gpt2"), make_examples(3)
    long = replace(long, response=replace(long.response, token_ids=long.response.token_ids * 2000))
    strange = replace(strange, response=replace(strange.response, token_ids=(10**6, *strange.response.token_ids)))
    found = measure_contributions(model, [good, long, strange], style=STYLE)
    alone = measure_contributions(model, [good], style=STYLE)
    assert {row["example_id"] for row in found.rows} == {good.id}
    assert found.values is not None and alone.values is not None and (found.values == alone.values).all()
    assert found.summary["too_long"] == {"examples": 1, "first": [long.id]}
    assert found.summary["unknown_tokens"] == {"examples": 1, "first": [strange.id]}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contributions_module, "SHARD_EXAMPLES", 4)


@pytest.mark.usefixtures("small_shards")
def test_shards_hold_what_memory_holds(tmp_path: Path) -> None:
    model, examples = tiny_model("llama"), make_examples(10)
    on_disk = measure_contributions(model, examples, style=STYLE, batch_size=3, out=tmp_path)
    in_memory = measure_contributions(model, examples, style=STYLE, batch_size=3)
    assert sorted(p.name for p in tmp_path.glob("shard-*")) == [f"shard-{i:05d}.safetensors" for i in range(3)]
    assert on_disk.rows == in_memory.rows
    assert on_disk.content == in_memory.content
    expected = values_by_id(in_memory)
    for found in (on_disk, load_contributions(tmp_path)):
        assert found.shape == (3, 48)
        for name, value in values_by_id(found).items():
            assert np.array_equal(value, expected[name])
    some = on_disk.matrix([5, 2])
    assert list(some.row_ids) == [on_disk.rows[5]["id"], on_disk.rows[2]["id"]]
    assert np.array_equal(
        some.gather(np.array([7, 100]), 1 << 20), in_memory.matrix([5, 2]).gather(np.array([7, 100]), 0)
    )


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("crash_at", [0, 1, 2])
@pytest.mark.parametrize("shard_written", [True, False])
def test_a_run_killed_in_any_shard_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int, shard_written: bool
) -> None:
    model, examples = tiny_model("llama"), make_examples(10)
    options: dict[str, Any] = {"style": STYLE, "batch_size": 3}
    measure_contributions(model, examples, out=tmp_path / "whole", **options)
    where, name = (RowStore, "commit") if shard_written else (contributions_module, "_pack_shard")
    original, calls = getattr(where, name), []

    def crash(*args: Any) -> Any:
        calls.append(1)
        if len(calls) > crash_at:
            raise KeyboardInterrupt
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, crash)
        with pytest.raises(KeyboardInterrupt):
            measure_contributions(model, examples, out=tmp_path / "cut", **options)
    (tmp_path / "cut" / "shard-00002.safetensors.tmp").write_bytes(b"half")
    measure_contributions(model, examples, out=tmp_path / "cut", **options)
    whole, cut = read_tree(tmp_path / "whole"), read_tree(tmp_path / "cut")
    assert {k: v for k, v in cut.items() if not k.endswith(".tmp")} == whole


@pytest.mark.parametrize("damage", [None, "pending.json", "pending.safetensors"])
def test_ctrl_c_keeps_every_finished_batch_of_the_open_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str | None
) -> None:
    model, examples = tiny_model("llama"), make_examples(10)
    options: dict[str, Any] = {"style": STYLE, "batch_size": 3}
    measure_contributions(model, examples, out=tmp_path / "whole", **options)
    measure, calls, cut = ContributionMeter.measure, list[int](), tmp_path / "cut"

    def stop(meter: Any, sequences: Any) -> Any:
        calls.append(len(sequences))
        if len(calls) in (3, 4):
            raise KeyboardInterrupt
        return measure(meter, sequences)

    monkeypatch.setattr(ContributionMeter, "measure", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            measure_contributions(model, examples, out=cut, **options)
    assert {check.state for check in verify_folder(cut)} == {"unfinished", "whole"}
    if damage:
        (cut / damage).write_bytes(b"no")
    measure_contributions(model, examples, out=cut, **options)
    assert len(calls) == 4 + (4 if damage else 2)
    assert read_tree(cut) == read_tree(tmp_path / "whole")


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    model, examples = tiny_model("llama"), make_examples(3)
    measure_contributions(model, examples, style=STYLE, out=tmp_path)
    with pytest.raises(ArtifactError, match="other was"):
        measure_contributions(model, examples, style=STYLE, other="sequence", out=tmp_path)
    with pytest.raises(ArtifactError, match="style was"):
        measure_contributions(model, examples, style=PromptStyle(), out=tmp_path)
    with pytest.raises(ArtifactError, match="model was"):
        measure_contributions(tiny_model("llama", seed=1), examples, style=STYLE, out=tmp_path)
    with pytest.raises(ArtifactError, match="input examples was"):
        measure_contributions(model, examples[:2], style=STYLE, out=tmp_path)


def test_what_was_measured_has_an_identity_of_its_own() -> None:
    """Equal rows do not make equal contributions: another model, region or style gives another content."""
    model, examples = tiny_model("llama"), make_examples(3)
    found = [
        measure_contributions(model, examples, style=STYLE),
        measure_contributions(tiny_model("llama", seed=1), examples, style=STYLE),
        measure_contributions(model, examples, style=PromptStyle()),
    ]
    assert found[0].rows == found[1].rows == found[2].rows
    assert len({f.content for f in found}) == 3


@pytest.mark.usefixtures("small_shards")
def test_a_missing_shard_and_a_changed_one_are_named(tmp_path: Path) -> None:
    measure_contributions(tiny_model("llama"), make_examples(10), style=STYLE, out=tmp_path)
    shard = tmp_path / "shard-00001.safetensors"
    data = shard.read_bytes()
    shard.write_bytes(data[:-8] + bytes(8))
    with pytest.raises(ArtifactError, match=r"shard-00001.safetensors was changed"):
        load_contributions(tmp_path)
    shard.write_bytes(data)
    load_contributions(tmp_path)
    shard.unlink()
    with pytest.raises(ArtifactError, match="lacks shard-00001"):
        load_contributions(tmp_path)


def test_the_manifest_counts_the_shared_prefix(tmp_path: Path) -> None:
    model = tiny_model("llama")
    measure_contributions(model, make_examples(5), style=STYLE, out=tmp_path)
    summary = json.loads((tmp_path / "manifest.json").read_text())["summary"]
    assert summary["shared_prefix_tokens"] > 10
