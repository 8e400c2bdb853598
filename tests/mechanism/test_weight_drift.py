"""Drift between checkpoints: distances of every family against a naive oracle, planted drift, tests that hold."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError, UnsupportedModelError
from hneurons.core.types import ModelIdentity
from hneurons.mechanism.drift_ranks import (
    ANY,
    average_contributions,
    compare_within,
    make_strata,
    normalised_ranks,
    rank_drift,
)
from hneurons.mechanism.weight_drift import Drift, measure_drift
from hneurons.models.language_model import LanguageModel
from hneurons.models.stored_weights import open_stored
from hneurons.neurons.controls import draw_subsets
from hneurons.neurons.neuron_set import NeuronSet
from support.places import ROOT
from support.planted import make_dataset
from support.tiny_models import DENSE, SHELLS, tiny_tokenizer, tiny_transformer

SHAPE = (6, 400)
IDENTITY = ModelIdentity("m", "llama", *SHAPE, 32, "c", "t", "w")


def save_pair(folder: Path, family: str = "llama") -> tuple[str, str, Any, Any]:
    """Two checkpoints of different weights, the second in several files; their names and models."""
    before, after = tiny_transformer(family, seed=0), tiny_transformer(family, seed=1)
    before.save_pretrained(folder / "before")
    after.save_pretrained(folder / "after", max_shard_size="40KB")
    return str(folder / "before"), str(folder / "after"), before, after


def tune(folder: Path, change: Any) -> tuple[str, str]:
    """A tiny checkpoint, and a copy whose tensors went through `change(name, tensor)`."""
    tiny_transformer("llama").save_pretrained(folder / "base")
    tensors = load_file(folder / "base" / "model.safetensors")
    (folder / "tuned").mkdir()
    save_file({n: change(n, t.clone()) for n, t in tensors.items()}, folder / "tuned" / "model.safetensors")
    (folder / "tuned" / "config.json").write_text((folder / "base" / "config.json").read_text())
    return str(folder / "base"), str(folder / "tuned")


def cosine_distance(a: torch.Tensor, b: torch.Tensor) -> NDArray[np.float64]:
    """Of the rows."""
    return (1 - torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=1)).detach().numpy()


@pytest.mark.parametrize("family", (*DENSE, *SHELLS))
def test_distances_are_those_of_the_loaded_weights(family: str, tmp_path: Path) -> None:
    base, tuned, before, after = save_pair(tmp_path, family)
    assert len(list(Path(tuned).glob("*.safetensors"))) > 1
    drift = measure_drift(base, tuned)
    models = [LanguageModel(m, tiny_tokenizer(), name="m") for m in (before, after)]
    downs = [cosine_distance(a.columns.t(), b.columns.t()) for a, b in zip(*(m.ffns for m in models), strict=True)]
    np.testing.assert_allclose(drift.down, np.stack(downs), atol=1e-12)
    for layer in range(3):
        for name, found in (("up", drift.up), ("gate", drift.gate)):
            weights = [entrance(m, layer, name) for m in models]
            assert (found is None) == (weights[0] is None)
            if found is not None:
                np.testing.assert_allclose(found[layer], cosine_distance(*weights), atol=1e-12)
    assert open_stored(base).weights_digest() == models[0].identity.weights


def entrance(model: LanguageModel, layer: int, which: str) -> torch.Tensor | None:
    """Rows of the up- or gate-projection of a layer, by the names of each family."""
    mlp = model.decoder.get_submodule(model.ffns[layer].name.rpartition(".")[0])
    if hasattr(mlp, "gate_up_proj"):
        gate, up = mlp.gate_up_proj.weight.chunk(2)  # type: ignore[union-attr, operator]
        return up if which == "up" else gate
    if which == "gate":
        return mlp.gate_proj.weight if hasattr(mlp, "gate_proj") else None  # type: ignore[union-attr, return-value]
    if hasattr(mlp, "c_fc"):
        return mlp.c_fc.weight.t()  # type: ignore[union-attr, operator]
    name = next(n for n in ("up_proj", "dense_h_to_4h", "fc1") if hasattr(mlp, n))
    return getattr(mlp, name).weight  # type: ignore[no-any-return]


def test_equal_checkpoints_are_exactly_0_apart_in_whatever_type(tmp_path: Path) -> None:
    base, tuned = tune(tmp_path, lambda name, tensor: tensor)
    assert measure_drift(base, tuned).equal
    for dtype in (torch.bfloat16, torch.float16):
        folder = tmp_path / str(dtype)
        folder.mkdir()
        model = tiny_transformer("llama").to(dtype)
        model.save_pretrained(folder / "a")
        model.float().save_pretrained(folder / "b")
        drift = measure_drift(str(folder / "a"), str(folder / "b"))
        assert drift.equal and drift.dtypes == (str(dtype).removeprefix("torch."), "float32")
        assert drift.gate is not None and not drift.gate.any()


def test_tiny_turns_keep_their_digits_and_scaling_turns_nothing(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)

    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.double()
        if "down_proj" in name:
            return 3 * tensor
        return (
            tensor + 1e-9 * torch.randn(tensor.shape, generator=rng, dtype=torch.float64) if "mlp" in name else tensor
        )

    base, tuned = tune(tmp_path, change)
    drift = measure_drift(base, tuned)
    assert drift.down.max() < 1e-15
    a, b = (
        load_file(Path(f) / "model.safetensors")["model.layers.1.mlp.up_proj.weight"].double() for f in (base, tuned)
    )
    unit = [x / x.norm(dim=1, keepdim=True) for x in (a, b)]
    expected = ((unit[0] - unit[1]) ** 2).sum(dim=1) / 2  # the same number without cancellation
    assert expected.max() < 1e-15
    np.testing.assert_allclose(drift.up[1], expected.numpy(), rtol=1e-3)


def test_planted_neurons_rank_last_and_one_projection_at_a_time(tmp_path: Path) -> None:
    planted = {(0, 5): "up_proj", (1, 7): "down_proj", (2, 9): "gate_proj"}

    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        for (layer, neuron), part in planted.items():
            if f"layers.{layer}.mlp.{part}" in name:
                vector = tensor[:, neuron] if part == "down_proj" else tensor[neuron]
                vector.copy_(vector.flip(0))
        return tensor

    drift = measure_drift(*tune(tmp_path, change))
    assert drift.gate is not None
    assert [tuple(np.argwhere(v > 0)[0]) for v in (drift.up, drift.down, drift.gate)] == list(planted)
    assert [int((v > 0).sum()) for v in (drift.up, drift.down, drift.gate)] == [1, 1, 1]
    neurons = NeuronSet.from_columns(
        replace(IDENTITY, layers=3, neurons=48), np.array([5, 48 + 7]), np.ones(2), data={}
    )  # fmt: skip
    found = rank_drift(drift, neurons, draws=500)
    assert min(found.ranks) == pytest.approx(1 - 1.5 / 144, abs=0.5 / 144)
    assert found.score.comparisons[0].p_more < 0.01 < 0.9 < found.score.comparisons[0].p_less


def test_checkpoints_with_other_neurons_are_refused_by_what_differs(tmp_path: Path) -> None:
    base = tiny_transformer("llama")
    base.save_pretrained(tmp_path / "base")
    config = base.config
    for name, value in (("num_hidden_layers", 2), ("intermediate_size", 40), ("hidden_size", 64)):
        changed = type(config)(**{**config.to_dict(), name: value, "head_dim": None})
        type(base)(changed).save_pretrained(tmp_path / name)
    tiny_transformer("qwen2").save_pretrained(tmp_path / "family")
    for name, said in (
        ("num_hidden_layers", "layers: 3 against 2"),
        ("intermediate_size", "neurons a layer: 48 against 40"),
        ("hidden_size", "hidden size: 32 against 64"),
        ("family", "architecture: llama against qwen2"),
    ):
        with pytest.raises(InputError, match=said):
            measure_drift(str(tmp_path / "base"), str(tmp_path / name))


def test_files_that_are_damaged_missing_or_no_floats_are_one_sentence(tmp_path: Path) -> None:
    base, tuned = tune(tmp_path, lambda name, tensor: tensor)
    path = Path(tuned) / "model.safetensors"
    whole, tensors = path.read_bytes(), load_file(path)
    for content, error, said in (
        (whole[:-40], ArtifactError, "damaged or truncated"),
        (b"\xff" * 64, ArtifactError, "damaged or truncated"),
        (None, InputError, "has no model.safetensors"),
    ):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(error, match=said):
            measure_drift(base, tuned)
    for change, error, said in (
        ({"model.layers.1.mlp.up_proj.weight": None}, ArtifactError, "should store one layers.1.mlp.up_proj.weight"),
        ({"model.layers.1.mlp.up_proj.weight": torch.zeros(4, 4)}, ArtifactError, r"found \[4, 4\]"),
        ({"model.layers.0.mlp.down_proj.weight": torch.zeros(32, 48, dtype=torch.int8)}, InputError, "as I8"),
        ({"model.layers.0.mlp.down_proj.weight": torch.full((32, 48), torch.nan)}, InputError, "not finite"),
    ):
        changed = {name: tensor for name, tensor in {**tensors, **change}.items() if tensor is not None}
        save_file(changed, path)
        with pytest.raises(error, match=said):
            measure_drift(base, tuned)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (b"", "describes no model that transformers can build"),
        (b"{", "describes no model that transformers can build"),
        (b"[]", "describes no model that transformers can build"),
        (b"\xff\xfe", "describes no model that transformers can build"),
        ({"model_type": "nothing"}, "describes no model that transformers can build"),
        ({"num_attention_heads": 0}, "describes no model that transformers can build"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0, expected a whole number from 1"),
        ({"hidden_size": "wide"}, "describes no model that transformers can build"),
        ({"intermediate_size": -1}, "intermediate_size = -1, expected a whole number from 1"),
        ({"hidden_act": "nothing"}, "describes no model that transformers can build"),
        ({"model_type": "t5"}, "holds a t5, which is no decoder: choose a decoder"),
    ],
)
def test_a_config_of_no_decoder_is_one_sentence(changes: Any, said: str, tmp_path: Path) -> None:
    tiny_transformer("llama").save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    whole = json.loads(config.read_text())
    config.write_bytes(changes if isinstance(changes, bytes) else json.dumps(whole | changes).encode())
    with pytest.raises((InputError, UnsupportedModelError), match=said) as caught:
        open_stored(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_header_whose_places_are_none_is_one_sentence(tmp_path: Path) -> None:
    tiny_transformer("llama").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header, name = json.loads(whole[8 : 8 + size]), "model.layers.0.mlp.down_proj.weight"
    first, end = header[name]["data_offsets"]
    for entry in (
        {"data_offsets": [first, first + 4]},
        {"data_offsets": [float(first), float(end)]},
        {"data_offsets": [first]},
        {"data_offsets": [-end, -first]},
        {"shape": [-32, -48]},
        {"shape": 5},
        {"dtype": ["F32"]},
        {"dtype": "F16"},
    ):
        changed = json.dumps(header | {name: header[name] | entry}).encode()
        path.write_bytes(len(changed).to_bytes(8, "little") + changed + whole[8 + size :])
        with pytest.raises(ArtifactError, match="is damaged or truncated"):
            open_stored(str(tmp_path))
    for content in (b"[]", b'"x"', b"5", b"null", b"{}", b'{"a": null}', b"[" * 100_000):
        path.write_bytes(len(content).to_bytes(8, "little") + content)
        with pytest.raises(ArtifactError, match="is damaged or truncated"):
            open_stored(str(tmp_path))


def test_an_index_stays_in_its_folder(tmp_path: Path) -> None:
    _, tuned, *_ = save_pair(tmp_path)
    path = Path(tuned) / "model.safetensors.index.json"
    row = json.loads(path.read_text())
    name = next(iter(row["weight_map"]))
    outside = str(tmp_path / "before" / "model.safetensors")
    for file in ("../before/model.safetensors", outside, "..", "", ".", "config.json", 5, None, ["a"]):
        path.write_text(json.dumps({"weight_map": row["weight_map"] | {name: file}}))
        with pytest.raises(ArtifactError, match=r"index\.json is damaged \(.*\): fetch the checkpoint again"):
            open_stored(tuned)
    path.write_text(json.dumps({"weight_map": row["weight_map"] | {name: outside}}))
    with pytest.raises(ArtifactError, match=r"it names '/.*', no \.safetensors file beside it"):
        open_stored(tuned)
    for content in ("", "[]", "{}", '{"weight_map": {}}', '{"weight_map": 5}'):
        path.write_text(content)
        with pytest.raises(ArtifactError, match="is damaged"):
            open_stored(tuned)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_tokenizer_that_is_damaged_is_one_sentence(content: bytes | None, tmp_path: Path) -> None:
    tiny_transformer("llama").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(InputError, match=r"could not read the tokenizer in .*: fetch or save the checkpoint again"):
        open_stored(str(tmp_path)).identity()


def test_a_kept_drift_is_read_again_and_made_anew_for_other_weights(tmp_path: Path) -> None:
    base, tuned, *_ = save_pair(tmp_path)
    first = measure_drift(base, tuned, out=tmp_path / "out")
    for again in (measure_drift(base, tuned, out=tmp_path / "out"), Drift.load(tmp_path / "out")):
        for name in ("up", "down", "gate"):
            np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert (again.base, again.tuned, again.dtypes) == (first.base, first.tuned, first.dtypes)
    tiny_transformer("llama", seed=2).save_pretrained(tuned, max_shard_size="40KB")
    other = measure_drift(base, tuned, out=tmp_path / "out")
    assert (other.up != first.up).any() and (Drift.load(tmp_path / "out").up == other.up).all()
    (tmp_path / "out" / "drift.safetensors").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="run the command that made it again"):
        Drift.load(tmp_path / "out")


@pytest.mark.slow
def test_reading_takes_far_less_memory_than_the_files_have(tmp_path: Path) -> None:
    """A pair of 80 MB, all zeros and so without room on disk, in a process of its own."""
    code = f"""
import resource, sys
sys.path.insert(0, {str(ROOT / "bench")!r})
from pathlib import Path
from origin_memory import write_sparse
from hneurons.mechanism.weight_drift import measure_drift
here = Path({str(tmp_path)!r})
small, large = ([str(write_sparse(here / f"{{name}}{{size}}", size)) for name in "ab"] for size in (2, 80))
measure_drift(*small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert measure_drift(*large).equal
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 30_000  # KiB


def make_drift(seed: int, moved: NDArray[np.int64] | None = None) -> Drift:
    rng = np.random.default_rng(seed)
    up, down = rng.exponential(size=(2, *SHAPE))
    # Layers differ in how far they move, as in real models.
    factor = np.linspace(1, 3, SHAPE[0])[:, None]
    up, down = up * factor, down * factor
    if moved is not None:
        up.ravel()[moved] += 10 * up.max()
        down.ravel()[moved] += 10 * down.max()
    return Drift("a", "b", up, down, None, ("float32", "float32"))


def neurons_at(columns: NDArray[np.int64]) -> NeuronSet:
    return NeuronSet.from_columns(IDENTITY, columns, np.ones(len(columns)), data={})


def test_moved_neurons_rank_at_the_moved_end_and_every_control_says_so() -> None:
    columns = np.arange(3, SHAPE[0] * SHAPE[1], 160)
    found = rank_drift(
        make_drift(0, columns), neurons_at(columns), contributions=np.random.default_rng(1).random(SHAPE), draws=500
    )  # fmt: skip
    assert min(found.ranks) > 1 - 2 * len(columns) / found.population
    assert len(found.score.comparisons) == 4
    for comparison in found.score.comparisons:
        assert comparison.p_more == pytest.approx(1 / 501) and comparison.p_less == 1.0
        assert comparison.low < comparison.expected < comparison.high < found.score.mean.low


@pytest.mark.parametrize("kind", (0, 1, 2, 3))
def test_p_values_are_uniform_under_the_null_of_each_control(kind: int) -> None:
    """Neurons chosen by their stratum alone: drift, layer and contribution are entangled, the choice within is free."""
    from scipy.stats import kstest

    drift = make_drift(0)
    contributions = drift.up * np.random.default_rng(1).uniform(0.8, 1.2, SHAPE)  # what contributes more, drifts more
    ranks = normalised_ranks(drift.score().ravel())[None]
    name, strata = list(make_strata(SHAPE, contributions).items())[kind]
    found = []
    for seed in range(300):
        rng = np.random.default_rng(1000 + seed)
        pool = np.flatnonzero(np.isin(strata, rng.permutation(np.unique(strata))[:3]))
        columns = np.sort(rng.choice(pool, 15, replace=False))
        found += compare_within(name, ranks, columns, strata, 200, seed)
    for values in ([c.p_less for c in found], [c.p_more for c in found]):
        assert kstest(values, "uniform").pvalue > 0.001
        assert 0.02 <= np.mean(np.array(values) <= 0.05) <= 0.09


def test_neurons_of_quiet_layers_look_inert_and_the_layer_control_sees_through_it() -> None:
    columns = np.random.default_rng(3).choice(SHAPE[1], 30, replace=False)  # all in layer 0, which moves least
    any_neurons, layers = rank_drift(make_drift(5), neurons_at(columns), draws=1000).score.comparisons
    assert any_neurons.p_less < 0.01 < 0.05 < layers.p_less
    assert layers.expected < 0.4 < any_neurons.expected == pytest.approx(0.5)


def test_expected_ranks_are_those_of_the_strata_and_draws_stay_in_them() -> None:
    drift, contributions = make_drift(2), np.random.default_rng(0).random(SHAPE)
    columns = np.array([1, 2, 700, 2000])
    ranks = normalised_ranks(drift.score().ravel())
    assert ranks.mean() == pytest.approx(0.5) and 0 < ranks.min() < ranks.max() < 1
    found = {
        c.against: c for c in rank_drift(drift, neurons_at(columns), contributions=contributions).score.comparisons
    }
    for name, strata in make_strata(SHAPE, contributions).items():
        expected = np.mean([ranks[strata == strata[column]].mean() for column in columns])
        assert found[name].expected == pytest.approx(expected)
        assert found[name].low <= expected <= found[name].high
        sizes = np.bincount(strata)
        assert sizes[sizes > 0].min() >= 50
    assert found[ANY].pool == ranks.size


def test_subsets_are_drawn_without_replacement_and_evenly() -> None:
    for n, k in ((5, 5), (50, 20), (400, 15), (7, 1)):
        drawn = draw_subsets(np.random.default_rng(0), n, k, 4000)
        assert drawn.shape == (4000, k)
        assert all(len(set(row)) == k for row in drawn[:200].tolist())
        share = np.bincount(drawn.ravel(), minlength=n) / 4000
        assert np.abs(share - k / n).max() < 5 * np.sqrt(k / n * (1 - k / n) / 4000) + 1e-9


def test_equal_checkpoints_empty_sets_and_other_shapes_give_no_p_value() -> None:
    still = Drift("a", "b", np.zeros(SHAPE), np.zeros(SHAPE), None, ("float32", "float32"))
    found = rank_drift(still, neurons_at(np.array([1, 2])))
    assert found.equal and found.parts == ()
    with pytest.raises(NotEnoughDataError, match="no neurons"):
        rank_drift(make_drift(0), neurons_at(np.array([], dtype=np.int64)))
    other = NeuronSet.from_columns(replace(IDENTITY, layers=7), np.array([1]), np.ones(1), data={})
    with pytest.raises(InputError, match=r"\(7, 400\)"):
        rank_drift(make_drift(0), other)


def test_a_gate_that_alone_moved_is_no_equality_and_gives_no_score() -> None:
    from hneurons.mechanism.weight_drift import summarize
    from hneurons.report.origin_report import judge_drift
    from hneurons.runs.origin import Origin

    gate = np.zeros(SHAPE)
    for moved in (False, True):
        gate[2, 5] = 0.25 * moved
        drift = Drift("a", "b", np.zeros(SHAPE), np.zeros(SHAPE), gate, ("float32", "float32"))
        ranks = rank_drift(drift, neurons_at(np.array([1, 2])))
        assert drift.equal == ranks.equal == (not moved) and ranks.parts == ()
        said = judge_drift(Origin("a", "b", {}, ranks, summarize(drift), drift.dtypes, {}, "d"))
        assert len(said) == 1 and ("the gate did" in said[0]) == moved != ("weights" in said[0])


def test_ranks_survive_json_and_are_the_same_again() -> None:
    from dataclasses import asdict

    from hneurons.mechanism.drift_ranks import DriftRanks

    columns = np.array([5, 900])
    first, again = (rank_drift(make_drift(1), neurons_at(columns), draws=300, seed=4) for _ in range(2))
    assert first == again == DriftRanks.from_row(json.loads(json.dumps(asdict(first))))
    assert rank_drift(make_drift(1), neurons_at(columns), draws=300, seed=5) != first


def test_average_contributions_count_answer_rows_alone() -> None:
    data = make_dataset(20, shape=(2, 30))
    answers = [i for i, row in enumerate(data.contributions.rows) if row["region"] == "answer"]
    assert data.contributions.values is not None
    expected = data.contributions.values[answers].astype(np.float64).mean(axis=0).reshape(2, 30)
    np.testing.assert_allclose(average_contributions(data.contributions), expected, rtol=1e-6)
