"""Transfer to another checkpoint: planted neurons that carry over or do not, controls, and what is refused."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.core.seeds import fingerprint
from hneurons.core.stats import auroc
from hneurons.core.types import ModelIdentity
from hneurons.detection.answer_rows import Dataset
from hneurons.detection.detector import Detector
from hneurons.detection.fitting import fit_detector
from hneurons.detection.transfer import (
    ANY,
    DETECTOR,
    LAYERS,
    RANDOM_KINDS,
    REFITTED,
    SAME_FIT,
    Transferred,
    TransferResult,
    check_transferable,
    load_transfer,
    transfer_detector,
)
from hneurons.models.checkpoints import tokenizer_hash
from support.planted import make_dataset, make_identity, read_tree
from support.tiny_models import tiny_tokenizer

pytestmark = pytest.mark.slow  # a whole run is made first

SHAPE = (3, 40)
PLANTED = {(0, 7): 1.6, (2, 31): 1.4}
ELSEWHERE = {(1, 3): 1.6, (1, 9): 1.4}
BASE = replace(make_identity(SHAPE), name="base", weights="other", config="other")


@pytest.fixture(scope="module")
def train() -> Dataset:
    return make_dataset(120, planted=PLANTED)


@pytest.fixture(scope="module")
def detector(train: Dataset) -> Detector:
    return fit_detector(train.contributions, subsamples=0)


def base_rows(planted: dict[tuple[int, int], float], questions: int = 100, **options: Any) -> Dataset:
    return make_dataset(questions, planted=planted, prefix="b", identity=BASE, **{"seed": 9, **options})


def by_name(result: TransferResult) -> dict[str, Transferred]:
    return {m.method: m for m in result.methods}


@pytest.fixture(scope="module")
def results(detector: Detector, train: Dataset) -> dict[str, TransferResult]:
    """`same`: the planted neurons tell on the base model too; `moved`: other neurons do."""
    tuned = {"same": make_dataset(80, planted=PLANTED, prefix="t", seed=4)}
    return transfer_detector(
        detector, train, {"same": base_rows(PLANTED), "moved": base_rows(ELSEWHERE)}, tuned=tuned, draws=12
    )  # fmt: skip


def test_planted_neurons_carry_over_and_random_ones_do_not(
    results: dict[str, TransferResult], detector: Detector
) -> None:
    found = by_name(results["same"])
    assert next(iter(found)) == DETECTOR
    assert set(found) >= {SAME_FIT, ANY, LAYERS, REFITTED + SAME_FIT, REFITTED + LAYERS}
    assert found[DETECTOR].auroc.low > 0.6 and found[DETECTOR].difference.value == 0
    for kind in RANDOM_KINDS:
        spread = found[kind]
        assert spread.sets == 12 and spread.lowest <= spread.auroc.value <= spread.highest
        assert spread.difference.low > 0 and spread.reaching == 0
        assert abs(spread.auroc.value - 0.5) < 0.12
    assert found[REFITTED + SAME_FIT].auroc.low > 0.6
    there = {m.method: m for m in results["same"].on_tuned}
    assert list(there) == [DETECTOR, SAME_FIT, ANY, LAYERS] and there[DETECTOR].auroc.value > 0.6


def test_where_other_neurons_tell_nothing_carries_over_and_nothing_is_claimed(
    results: dict[str, TransferResult],
) -> None:
    found = by_name(results["moved"])
    assert found[DETECTOR].auroc.low < 0.5 < found[DETECTOR].auroc.high
    assert found[ANY].difference.low < 0 < found[ANY].difference.high
    assert found[ANY].reaching > 0 and results["moved"].on_tuned == ()


def test_the_detector_is_applied_with_its_own_weights(results: dict[str, TransferResult], detector: Detector) -> None:
    data = base_rows(PLANTED)
    rows = [i for i, row in enumerate(data.contributions.rows) if row["region"] == "answer"]
    labels = [data.contributions.rows[i]["hallucinated"] for i in rows]
    expected = auroc(labels, detector.decide(data.contributions.matrix(rows)))
    assert results["same"].detector.auroc.value == pytest.approx(expected)
    assert results["same"].detector.auroc.n == 100


def test_a_refit_on_the_base_rows_finds_what_transfer_cannot(detector: Detector, train: Dataset) -> None:
    """The same neurons with their signs turned round: the detector is worse than chance, its neurons are not."""
    turned = {place: -strength for place, strength in PLANTED.items()}
    found = by_name(transfer_detector(detector, train, {"turned": base_rows(turned)}, draws=4)["turned"])
    assert found[DETECTOR].auroc.high < 0.5 < found[REFITTED + SAME_FIT].auroc.low


def test_layer_matched_sets_keep_to_the_layers_and_none_is_selected(detector: Detector) -> None:
    from hneurons.detection.transfer import random_sets

    columns = detector.neuron_set().columns
    for kind in RANDOM_KINDS:
        sets = random_sets(detector, 20, 0)[kind]
        assert len({tuple(s) for s in sets}) > 10
        for drawn in sets:
            assert len(drawn) == len(columns) and not set(drawn) & set(detector.columns)
            if kind == LAYERS:
                assert sorted(drawn // 40) == sorted(columns // 40)


def test_random_sets_are_counted_against_neurons_fitted_alike(results: dict[str, TransferResult]) -> None:
    from dataclasses import asdict

    from hneurons.report.origin_report import judge_transfer

    for result in results.values():
        found = by_name(result)
        for kind in RANDOM_KINDS:
            drawn = found[kind]
            assert drawn.matching is not None and drawn.p == (1 + drawn.matching) / 13
            assert (drawn.matching == 0) == (drawn.highest < found[SAME_FIT].auroc.value)
            assert f"{drawn.matching} of 12 sets of {kind} (p {drawn.p:.4f})" in judge_transfer(result)
            again = found[REFITTED + kind]
            assert (again.matching == 0) == (again.highest < found[REFITTED + SAME_FIT].auroc.value)
        assert found[DETECTOR].matching is found[SAME_FIT].matching is None and found[SAME_FIT].p is None
        row = asdict(result)
        assert TransferResult.from_row(row) == result
        for old in row["methods"] + row["on_tuned"]:
            del old["matching"]  # as results before this count were kept
        assert "better than" in judge_transfer(TransferResult.from_row(row)) or result.name == "moved"


def test_a_question_that_was_trained_on_is_refused(detector: Detector, train: Dataset) -> None:
    same = make_dataset(120, planted=PLANTED, identity=BASE)
    with pytest.raises(InputError, match="120 questions of the test set 'x' were trained on"):
        transfer_detector(detector, train, {"x": same}, draws=1)
    with pytest.raises(NotEnoughDataError, match="all of one class"):
        transfer_detector(detector, make_dataset(30, wrong_share=1.0), {"x": base_rows(PLANTED)}, draws=1)


@pytest.mark.parametrize("share", (0.0, 0.02))
def test_one_class_or_too_few_for_folds_is_a_value(detector: Detector, train: Dataset, share: float) -> None:
    result = transfer_detector(detector, train, {"one": base_rows(PLANTED, 50, wrong_share=share)}, draws=2)["one"]
    assert math.isnan(result.detector.auroc.value) == (share == 0)
    assert REFITTED + SAME_FIT not in by_name(result)
    assert result.wrong == round(50 * share)


def in_groups(data: Dataset, named: Callable[[int, bool], str]) -> Dataset:
    """The same answers, their questions about fewer facts: `named(place, wrong)`."""
    examples = [
        replace(e, question=replace(e.question, fact=named(i, e.hallucinated))) for i, e in enumerate(data.examples)
    ]
    inputs = {"examples": fingerprint([e.to_row() for e in examples])}
    manifest = replace(data.contributions.manifest, inputs=inputs)
    return Dataset(examples, replace(data.contributions, manifest=manifest))


@pytest.mark.parametrize(
    "named, refitted",
    (
        (lambda i, wrong: "one" if wrong else f"r{i}", False),
        (lambda i, wrong: f"w{i % 2}" if wrong else f"r{i}", True),
        (lambda i, wrong: f"w{i % 3}" if wrong else f"r{i % 4}", True),
        (lambda i, wrong: "both", False),
        (lambda i, wrong: "both" if i % 8 or not wrong else f"w{i}", False),
    ),
)
def test_few_facts_of_a_class_give_fewer_folds_or_no_refit(
    detector: Detector, train: Dataset, named: Callable[[int, bool], str], refitted: bool
) -> None:
    from hneurons.report.origin_report import judge_transfer

    data = in_groups(base_rows(PLANTED, 60), named)
    result = transfer_detector(detector, train, {"few": data}, draws=2)["few"]
    assert (REFITTED + SAME_FIT in by_name(result)) == refitted
    assert ("too few questions to refit" in judge_transfer(result)) != refitted


def test_other_shapes_are_refused_by_name_and_other_weights_are_not(detector: Detector) -> None:
    assert check_transferable(detector, BASE).identity == BASE
    for field, value in (("architecture", "qwen2"), ("layers", 4), ("neurons", 41), ("hidden_size", 16)):
        other = ModelIdentity(**{**BASE.to_row(), field: value})
        with pytest.raises(InputError, match=f"{field.replace('_', ' ')}: .* against {value}"):
            check_transferable(detector, other)


def test_other_vocabularies_are_refused_by_name_and_another_template_is_not(detector: Detector) -> None:
    chat, plain = tiny_tokenizer(chat=True), tiny_tokenizer()
    assert tokenizer_hash(chat) != tokenizer_hash(plain)
    own = replace(detector, identity=replace(detector.identity, tokenizer=tokenizer_hash(chat)))
    base = replace(BASE, tokenizer=tokenizer_hash(plain))
    assert check_transferable(own, base, tokenizers=(chat, plain)).identity == base
    with pytest.raises(InputError, match="give both tokenizers"):
        check_transferable(own, base)
    with pytest.raises(InputError, match="those given are not the two models'"):
        check_transferable(own, base, tokenizers=(plain, chat))
    larger = tiny_tokenizer()
    larger.add_tokens(["<new>"])
    with pytest.raises(InputError, match=f"{len(plain)} tokens against {len(plain) + 1}"):
        check_transferable(own, replace(BASE, tokenizer=tokenizer_hash(larger)), tokenizers=(chat, larger))
    renamed = tiny_tokenizer()
    renamed.get_vocab = lambda: {**plain.get_vocab(), "<s>": 1, "</s>": 0}
    with pytest.raises(InputError, match="token '<s>' is 0 against 1"):
        check_transferable(own, replace(BASE, tokenizer=tokenizer_hash(renamed)), tokenizers=(chat, renamed))


def test_a_tokenizer_of_equal_vocabulary_that_splits_otherwise_is_refused(detector: Detector) -> None:
    from tokenizers import normalizers

    mine, lower = tiny_tokenizer(), tiny_tokenizer()
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert tokenizer_hash(mine) == tokenizer_hash(lower)
    own = replace(detector, identity=replace(detector.identity, tokenizer=tokenizer_hash(mine)))
    base = replace(BASE, tokenizer=tokenizer_hash(lower))
    assert check_transferable(own, base, tokenizers=(mine, tiny_tokenizer())).identity == base
    with pytest.raises(InputError, match="is split into"):
        check_transferable(own, base, tokenizers=(mine, lower))


def test_a_detector_without_neurons_is_transferred_as_such(train: Dataset) -> None:
    none = fit_detector(train.contributions, C=1e-6, subsamples=0)
    result = transfer_detector(none, train, {"x": base_rows(PLANTED, 40)}, draws=3)["x"]
    assert result.detector.auroc.value == 0.5
    assert not set(by_name(result)) & {SAME_FIT, *RANDOM_KINDS}


def test_a_finished_transfer_is_read_again_and_made_anew_for_other_settings(
    detector: Detector, train: Dataset, tmp_path: Path
) -> None:
    base = {"x": base_rows(PLANTED, 40)}
    first = transfer_detector(detector, train, base, draws=2, out=tmp_path / "a")
    assert (
        transfer_detector(detector, train, base, draws=2, out=tmp_path / "a") == first == load_transfer(tmp_path / "a")
    )
    transfer_detector(detector, train, base, draws=2, out=tmp_path / "b")
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")
    other = transfer_detector(detector, train, base, draws=3, out=tmp_path / "a")
    assert by_name(other["x"])[ANY].sets == 3 and load_transfer(tmp_path / "a") == other
    (tmp_path / "a" / "transfer.json").write_text("{}")
    with pytest.raises(ArtifactError, match="run the command that made it again"):
        load_transfer(tmp_path / "a")


def test_sets_are_read_in_parts_where_memory_is_short(
    detector: Detector, train: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hneurons.detection import transfer

    base = {"x": base_rows(PLANTED, 40)}
    whole = transfer_detector(detector, train, base, draws=5)
    monkeypatch.setattr(transfer, "_MEMORY", 1)
    monkeypatch.setattr(np.random, "seed", lambda *_: pytest.fail("global randomness"))
    assert transfer_detector(detector, train, base, draws=5) == whole
