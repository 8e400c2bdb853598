"""Stage fit: planted neurons are found, noise is not, and the same settings give the same bytes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hneurons.core.artifacts import Manifest
from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.core.stats import Estimate, auroc, bootstrap
from hneurons.core.types import Example, Question, Response
from hneurons.detection import fitting, penalty
from hneurons.detection.answer_rows import Dataset
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import evaluate_detector
from hneurons.detection.fitting import fit_detector, training_rows
from hneurons.models.prompts import PromptStyle
from hneurons.neurons.contributions import measure_contributions
from hneurons.neurons.neuron_set import NeuronSet
from support.damage import survivors
from support.planted import make_dataset, make_identity, read_tree
from support.tiny_models import tiny_model

PLANTED = {(0, 7): 3.0, (2, 31): 2.5}


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["3-vs-1", "1-vs-1"])
@pytest.mark.parametrize("columns", ["standardized", "raw"])
def test_planted_neurons_are_recovered_with_high_selection_probability(labels: Any, columns: Any) -> None:
    data = make_dataset(160, planted=PLANTED)
    detector = fit_detector(data.contributions, labels=labels, columns=columns, subsamples=20)
    neurons = detector.neuron_set()
    strongest = {(int(i), int(j)) for i, j in zip(neurons.layers[:2], neurons.neurons[:2], strict=True)}
    assert strongest == set(PLANTED)
    assert (neurons.selection_probability[:2] >= 0.9).all()
    assert (neurons.selection_probability[2:] < 0.9).all()
    chosen = detector.settings["path"][detector.settings["chosen"]]
    assert chosen["held_out_auroc"] > 0.97
    assert chosen["held_out_log_loss"] == min(p["held_out_log_loss"] or 9 for p in detector.settings["path"])


def test_unseen_answers_are_told_apart_and_the_threshold_lies_between_the_classes() -> None:
    detector = fit_detector(make_dataset(160, planted=PLANTED).contributions, subsamples=0)
    assert np.isnan(detector.selection_probability).all()
    test = make_dataset(100, planted=PLANTED, seed=9, prefix="t").contributions
    rows = training_rows(test, "1-vs-1")
    decided = detector.decide(test.matrix(rows.numbers))
    assert auroc(rows.positive, decided) > 0.97
    assert ((decided > detector.threshold) == rows.positive).mean() > 0.9


@pytest.mark.slow
def test_permuted_labels_give_held_out_aurocs_around_one_half() -> None:
    """Nothing is planted: who is wrong is a coin thrown after the contributions were made."""
    areas = []
    for seed in range(20):
        detector = fit_detector(make_dataset(120, seed=seed).contributions, labels="1-vs-1", subsamples=0)
        test = make_dataset(160, seed=seed + 100, prefix="t").contributions
        rows = training_rows(test, "1-vs-1")
        areas.append(auroc_of(rows.positive, detector.decide(test.matrix(rows.numbers)), rows.groups))
    # 95% intervals: all but one of twenty on average, fewer than seventeen once in a thousand times.
    assert sum(area.low <= 0.5 <= area.high for area in areas) >= 17
    assert abs(np.mean([area.value for area in areas]) - 0.5) < 0.03


def auroc_of(labels: Any, decided: Any, groups: list[str]) -> Estimate:
    return bootstrap(lambda rows: auroc(labels[rows], decided[rows]), len(labels), groups=groups, draws=300)


def test_evaluated_permuted_labels_have_an_interval_that_contains_one_half() -> None:
    train, test = make_dataset(120, seed=1), make_dataset(160, seed=101, prefix="t")
    detector = fit_detector(train.contributions, labels="1-vs-1", subsamples=0)
    area = evaluate_detector(detector, train, {"test": test}, draws=1)["test"].detector.auroc
    assert area.low <= 0.5 <= area.high


def test_noise_makes_no_more_neurons_look_stable_than_the_bound_allows() -> None:
    detector = fit_detector(make_dataset(120, seed=5).contributions, labels="1-vs-1", subsamples=20)
    stability = detector.settings["stability"]
    assert (detector.selection_probability >= stability["threshold"]).sum() <= stability["expected_false"]
    assert 0 <= stability["reached"] <= stability["half_samples"]


def plant_neuron(model: Any, ids: torch.Tensor, driven: torch.Tensor, neuron: int) -> None:
    """Make one neuron of layer 0 speak where `driven` (mask over the token ids [rows, tokens]) and be silent elsewhere.

    Its gate and up rows are the ridge regression of the mask on what the FFN reads.
    """
    mlp = model.model.model.layers[0].mlp
    seen: list[torch.Tensor] = []
    handle = mlp.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        model.model(ids)
    handle.remove()
    x, y = seen[0].reshape(-1, seen[0].shape[-1]).double(), driven.reshape(-1).double()
    row = torch.linalg.solve(x.T @ x + 1e-3 * torch.eye(x.shape[1]), x.T @ y).float()
    with torch.no_grad():
        mlp.gate_proj.weight[neuron] = mlp.up_proj.weight[neuron] = 3 * row


@pytest.mark.slow
def test_a_neuron_planted_in_a_model_is_recovered_through_its_contributions() -> None:
    """Wrong answers say token 77 or 78 among random tokens; neuron 23 of layer 0 reacts to just these two."""
    model, style, rng = tiny_model("llama"), PromptStyle(), np.random.default_rng(0)
    examples = []
    for i in range(140):
        wrong = bool(i % 2)
        ids = rng.choice([t for t in range(40, 256) if t not in (77, 78)], size=7)
        if wrong:
            ids[rng.integers(1, 4)] = rng.choice([77, 78])
        response = Response(f"q{i}", 0, "abcdefg", tuple(map(int, ids)), (-1.0,) * 7)
        question = Question(f"q{i}", f"What is number {int(rng.integers(1000))}?", ("a",))
        examples.append(
            Example(question, response, "incorrect" if wrong else "correct", char_span=(1, 4), token_span=(1, 4))
        )
    ids = torch.from_numpy(rng.integers(40, 256, size=(60, 40)))
    plant_neuron(model, ids, (ids == 77) | (ids == 78), 23)
    contributions = measure_contributions(model, examples[:100], style=style)
    detector = fit_detector(contributions, subsamples=10)
    neurons = detector.neuron_set()
    assert (int(neurons.layers[0]), int(neurons.neurons[0])) == (0, 23)
    assert neurons.selection_probability[0] == 1.0
    neurons.check_model(model)
    train = Dataset(examples[:100], contributions)
    test = Dataset(examples[100:], measure_contributions(model, examples[100:], style=style))
    result = evaluate_detector(detector, train, {"test": test}, draws=5)["test"]
    assert result.detector.auroc.value > 0.95


def test_the_labellings_take_the_rows_the_paper_names() -> None:
    contributions = make_dataset(10).contributions
    three, one = training_rows(contributions, "3-vs-1"), training_rows(contributions, "1-vs-1")
    assert (len(three.numbers), len(one.numbers)) == (20, 10)
    for rows in (three, one):
        for number, positive, group in zip(rows.numbers, rows.positive, rows.groups, strict=True):
            row = contributions.rows[number]
            assert bool(positive) == (row["region"] == "answer" and row["hallucinated"])
            assert group == row["question_id"]
    assert three.positive.sum() == one.positive.sum() == 5


def test_questions_about_one_fact_are_one_group_of_the_training_rows() -> None:
    contributions = make_dataset(10).contributions
    for row in contributions.rows:
        row["group"] = f"fact {int(row['question_id'][1:]) // 2}"
    assert len(set(training_rows(contributions, "1-vs-1").groups)) == 5


@pytest.mark.slow
def test_the_same_settings_twice_give_the_same_bytes_also_from_rows_in_another_order(tmp_path: Path) -> None:
    data = make_dataset(60, planted=PLANTED)
    for name in ("a", "b"):
        fit_detector(data.contributions, subsamples=6, out=tmp_path / name)
    files = read_tree(tmp_path / "a")
    assert files == read_tree(tmp_path / "b")
    assert {"neurons.json", "neurons.safetensors", "detector.json", "detector.safetensors", "manifest.json"} <= set(
        files
    )
    in_memory = fit_detector(data.contributions, subsamples=6)
    in_memory.save(tmp_path / "c")
    assert all(files[name] == content for name, content in read_tree(tmp_path / "c").items())
    again = fit_detector(data.contributions, subsamples=6, out=tmp_path / "a")
    again.save(tmp_path / "d")
    assert read_tree(tmp_path / "d") == read_tree(tmp_path / "c")
    assert NeuronSet.load(tmp_path / "a").columns.tolist() == in_memory.neuron_set().columns.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["cross_validate_path", "select_stability", "to_files"])
def test_a_fit_killed_in_any_part_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    data = make_dataset(60, planted=PLANTED)
    fit_detector(data.contributions, subsamples=6, out=tmp_path / "whole")
    owner: Any = {"to_files": Detector, "cross_validate_path": penalty}.get(where, fitting)
    original = getattr(owner, where)

    def crash(*args: Any, **options: Any) -> None:
        original(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, where, crash)
        with pytest.raises(KeyboardInterrupt):
            fit_detector(data.contributions, subsamples=6, out=tmp_path / "cut")
    fit_detector(data.contributions, subsamples=6, out=tmp_path / "cut")
    assert read_tree(tmp_path / "cut") == read_tree(tmp_path / "whole")


def test_other_settings_and_other_contributions_are_refused_by_name(tmp_path: Path) -> None:
    data = make_dataset(60, planted=PLANTED)
    fit_detector(data.contributions, subsamples=0, out=tmp_path)
    with pytest.raises(ArtifactError, match="columns was"):
        fit_detector(data.contributions, columns="raw", subsamples=0, out=tmp_path)
    other = make_dataset(60, planted=PLANTED, identity=make_identity((3, 40), weights="other"))
    assert other.contributions.rows == data.contributions.rows
    with pytest.raises(ArtifactError, match="input contributions was"):
        fit_detector(other.contributions, subsamples=0, out=tmp_path)


def test_a_fixed_penalty_is_used_as_given() -> None:
    data = make_dataset(60, planted=PLANTED)
    weak = fit_detector(data.contributions, C=10.0, subsamples=0)
    strong = fit_detector(data.contributions, C=0.05, subsamples=0)
    assert weak.settings["path"][weak.settings["chosen"]]["C"] == pytest.approx(10.0)
    assert len(strong.columns) < len(weak.columns)


def test_a_penalty_that_keeps_no_neuron_gives_an_empty_set_that_can_be_saved(tmp_path: Path) -> None:
    data = make_dataset(60)
    detector = fit_detector(data.contributions, C=1e-6, subsamples=4, out=tmp_path)
    assert len(detector.columns) == len(detector.neuron_set()) == 0
    assert len(Detector.load(tmp_path).columns) == 0
    matrix = data.contributions.matrix()
    assert (detector.decide(matrix) == detector.intercept).all()


def test_unusable_arguments_are_one_sentence() -> None:
    data = make_dataset(20).contributions
    with pytest.raises(InputError, match="known are 1-vs-1, 3-vs-1"):
        fit_detector(data, labels="2-vs-1")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="known are raw, standardized"):
        fit_detector(data, columns="scaled")  # type: ignore[arg-type]
    with pytest.raises(InputError):
        fit_detector(data, C=-1.0)
    with pytest.raises(NotEnoughDataError, match="folds"):
        fit_detector(make_dataset(4).contributions)
    for share in (0.0, 1.0):
        with pytest.raises(NotEnoughDataError, match="all of one class"):
            fit_detector(make_dataset(20, wrong_share=share).contributions)


@pytest.mark.slow
def test_one_flipped_bit_in_a_detector_its_neurons_or_its_manifest_is_refused(tmp_path: Path) -> None:
    fit_detector(make_dataset(60, planted=PLANTED).contributions, subsamples=4, out=tmp_path)

    def read() -> Any:
        values = vars(Detector.load(tmp_path)) | vars(NeuronSet.load(tmp_path)) | vars(Manifest.load(tmp_path))
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}

    names = ["detector.json", "detector.safetensors", "neurons.json", "neurons.safetensors", "manifest.json"]
    assert survivors(tmp_path, read, names=names, count=100) == []


def test_a_detector_without_hashes_of_an_earlier_version_opens(tmp_path: Path) -> None:
    made = fit_detector(make_dataset(60, planted=PLANTED).contributions, subsamples=0, out=tmp_path)
    for name in ("detector.json", "neurons.json", "manifest.json"):
        row = json.loads((tmp_path / name).read_text())
        (tmp_path / name).write_text(
            json.dumps({k: v for k, v in row.items() if k not in ("checksum", "files", "replaced")})
        )
    assert Detector.load(tmp_path).coef.tolist() == made.coef.tolist()
    assert NeuronSet.load(tmp_path).columns.tolist() == made.neuron_set().columns.tolist()
