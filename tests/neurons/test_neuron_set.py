"""NeuronSet and Detector: bound to a model, saved and loaded bit for bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.core.errors import ArtifactError, InputError
from hneurons.detection.detector import Detector
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.sparse.matrix import ArrayMatrix
from support.planted import make_identity, read_tree
from support.tiny_models import tiny_model

IDENTITY = make_identity((3, 48))


def make_set(size: int = 4, **changes: Any) -> NeuronSet:
    rng = np.random.default_rng(size)
    columns = rng.choice(144, size, replace=False)
    probability = rng.random(size)
    probability[: size // 2] = np.nan
    found = NeuronSet.from_columns(
        IDENTITY, columns, rng.normal(size=size), data={"é": [1, 0.1]}, selection_probability=probability
    )
    return replace(found, **changes)


def make_detector(size: int = 5) -> Detector:
    rng = np.random.default_rng(size)
    return Detector(
        identity=IDENTITY,
        columns=np.sort(rng.choice(144, size, replace=False)),
        coef=rng.normal(size=size),
        scale=rng.random(size) + 0.1,
        selection_probability=np.full(size, np.nan),
        intercept=1 / 3,
        threshold=-0.1,
        settings={"labels": "3-vs-1", "C": None},
        data={"rows": 3},
    )


@pytest.mark.parametrize("size", [0, 1, 4, 100])
def test_a_saved_set_loads_bit_for_bit_and_equal_sets_give_equal_bytes(tmp_path: Path, size: int) -> None:
    neurons = make_set(size)
    neurons.save(tmp_path / "a")
    loaded = NeuronSet.load(tmp_path / "a")
    for name in ("layers", "neurons", "weights", "selection_probability"):
        before, after = getattr(neurons, name), getattr(loaded, name)
        assert before.dtype == after.dtype and before.tobytes() == after.tobytes()
    assert (loaded.identity, loaded.data) == (neurons.identity, neurons.data)
    loaded.save(tmp_path / "b")
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")


def test_columns_become_layers_and_neurons_and_back_strongest_first() -> None:
    neurons = NeuronSet.from_columns(IDENTITY, np.array([0, 47, 48, 143]), np.array([0.1, 3.0, 2.0, 0.5]), data={})
    assert neurons.columns.tolist() == [47, 48, 143, 0]
    assert neurons.layers.tolist() == [0, 1, 2, 0] and neurons.neurons.tolist() == [47, 0, 47, 0]
    assert np.isnan(neurons.selection_probability).all()
    assert neurons.share == 4 / 144 and len(neurons) == 4


@pytest.mark.parametrize(("layer", "neuron"), [(3, 0), (-1, 0), (0, 48), (0, -1)])
def test_a_neuron_the_model_does_not_have_is_refused(layer: int, neuron: int) -> None:
    with pytest.raises(InputError, match=f"neuron \\({layer}, {neuron}\\) does not exist"):
        make_set(1, layers=np.array([layer]), neurons=np.array([neuron]))


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="as many layers as neurons"):
        make_set(3, layers=np.array([1, 2]))


def test_another_model_is_refused_with_what_differs() -> None:
    model = tiny_model("llama")
    neurons = make_set(1, identity=model.identity)
    neurons.check_model(model)
    neurons.check_model(tiny_model("llama"))
    with pytest.raises(InputError, match=r"belong to tiny-llama, not to tiny-llama \(weights: .* against "):
        neurons.check_model(tiny_model("llama", seed=1))
    with pytest.raises(InputError, match="architecture: llama against qwen3"):
        neurons.check_model(tiny_model("qwen3"))


@pytest.mark.parametrize("size", [0, 5])
def test_a_saved_detector_loads_bit_for_bit(tmp_path: Path, size: int) -> None:
    detector = make_detector(size)
    detector.save(tmp_path / "a")
    loaded = Detector.load(tmp_path / "a")
    for name in ("columns", "coef", "scale", "selection_probability"):
        before, after = getattr(detector, name), getattr(loaded, name)
        assert before.dtype == after.dtype and before.tobytes() == after.tobytes()
    for name in ("identity", "intercept", "threshold", "settings", "data"):
        assert getattr(loaded, name) == getattr(detector, name)
    loaded.save(tmp_path / "b")
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")
    assert NeuronSet.load(tmp_path / "a").columns.tolist() == detector.neuron_set().columns.tolist()


def test_h_neurons_are_the_positive_weights_as_the_penalty_saw_them() -> None:
    detector = make_detector()
    neurons = detector.neuron_set()
    weights = dict(zip(detector.columns.tolist(), (detector.coef * detector.scale).tolist(), strict=True))
    assert neurons.weights.tolist() == sorted((w for w in weights.values() if w > 0), reverse=True)
    assert [weights[c] for c in neurons.columns.tolist()] == neurons.weights.tolist()


def test_decisions_are_the_intercept_and_the_weighted_columns() -> None:
    detector = make_detector()
    values = np.random.default_rng(1).random((7, 144)).astype(np.float16)
    expected = detector.intercept + values.astype(np.float64)[:, detector.columns] @ detector.coef
    np.testing.assert_allclose(detector.decide(ArrayMatrix(values)), expected, rtol=1e-6)
    assert make_detector(0).decide(ArrayMatrix(values)).tolist() == [1 / 3] * 7
    with pytest.raises(InputError, match="reads 144 neurons, these rows have 143"):
        detector.decide(ArrayMatrix(values[:, 1:]))


def no_tensors(folder: Path, name: str) -> None:
    (folder / f"{name}.safetensors").unlink()


def short_tensors(folder: Path, name: str) -> None:
    path = folder / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def half_json(folder: Path, name: str) -> None:
    path = folder / f"{name}.json"
    path.write_text(path.read_text()[:50])


def other_json(folder: Path, name: str) -> None:
    (folder / f"{name}.json").write_text("[1]")


def less_json(folder: Path, name: str) -> None:
    path = folder / f"{name}.json"
    row = json.loads(path.read_text())
    del row["model"]
    path.write_text(json.dumps(row))


def fewer_neurons(folder: Path, name: str) -> None:
    """Tensors of another set beside this one's JSON."""
    if name == "neurons":
        make_set(3).save(folder / "other")
    else:
        make_detector(3).save(folder / "other")
    (folder / "other" / f"{name}.safetensors").rename(folder / f"{name}.safetensors")


@pytest.mark.parametrize(
    "damage",
    [no_tensors, short_tensors, half_json, other_json, less_json, fewer_neurons],
    ids=lambda damage: damage.__name__,
)
@pytest.mark.parametrize(("kind", "name"), [(NeuronSet, "neurons"), (Detector, "detector")])
def test_a_damaged_folder_is_one_sentence(tmp_path: Path, damage: Any, kind: Any, name: str) -> None:
    (make_set(4) if kind is NeuronSet else make_detector()).save(tmp_path)
    kind.load(tmp_path)
    damage(tmp_path, name)
    with pytest.raises(ArtifactError, match="run 'fit' again"):
        kind.load(tmp_path)


def test_an_empty_folder_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--out folder of 'fit'"):
        NeuronSet.load(tmp_path)
    with pytest.raises(InputError, match="--out folder of 'fit'"):
        Detector.load(tmp_path)


@pytest.mark.parametrize("layers", [np.zeros((2, 2), np.int64), np.zeros(4), np.zeros(4, np.float32)])
def test_indices_of_another_shape_or_type_are_damage(tmp_path: Path, layers: Any) -> None:
    from safetensors.numpy import load_file, save_file

    make_set().save(tmp_path)
    tensors = load_file(tmp_path / "neurons.safetensors")
    save_file({**tensors, "layers": layers}, tmp_path / "neurons.safetensors")
    with pytest.raises(ArtifactError, match="damaged"):
        NeuronSet.load(tmp_path)


def test_a_set_whose_json_lacks_its_size_is_damaged(tmp_path: Path) -> None:
    make_set().save(tmp_path)
    row = json.loads((tmp_path / "neurons.json").read_text())
    del row["size"]
    (tmp_path / "neurons.json").write_text(json.dumps(row))
    with pytest.raises(ArtifactError, match="damaged"):
        NeuronSet.load(tmp_path)
