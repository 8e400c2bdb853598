"""A detector fitted on a tuned model, applied without refitting to rows measured on the model before tuning.

arXiv 2512.01797, section on the origin of H-neurons ("backward transferability"). Beside the detector stand:

- as many random neurons, from anywhere and from the same layers, fitted on the same rows of the tuned model and carried
  over in the same way;
- the same neurons refitted on the base model's own rows;
- the detector on the model that it was fitted on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hneurons.core.artifacts import FileStage, read_result
from hneurons.core.errors import InputError
from hneurons.core.progress import progress
from hneurons.core.rows import Row, dump_json, from_row, load_json
from hneurons.core.stats import Estimate, auroc, bootstrap_aurocs, bounded_interval, percentile_interval
from hneurons.core.types import ModelIdentity
from hneurons.detection.answer_rows import (
    AnswerRows,
    Dataset,
    Floats,
    Indices,
    answer_rows,
    check_both_classes,
    check_unseen,
    refit,
)
from hneurons.detection.detector import Detector
from hneurons.detection.scores import score_rows
from hneurons.models.checkpoints import tokenizer_hash
from hneurons.neurons.controls import draw_sets
from hneurons.sparse.matrix import ArrayMatrix

STAGE = "transfer"
RESULT = "transfer.json"
DRAWS = 100
FOLDS = 5
DETECTOR, SAME_FIT, REFITTED = "detector", "H-neurons", "refitted on the base model: "
ANY, LAYERS = "random neurons", "random neurons of the same layers"
RANDOM_KINDS = (ANY, LAYERS)
_MEMORY = 1 << 28
_PROBES = ("Question: What is the capital of France?\nAnswer:", " naïve café, 東京 1969!", "  two  spaces\n\n")


@dataclass(frozen=True, slots=True)
class Transferred(Row):
    """One method, or the mean of `sets` random ones, on the answers of one dataset.

    - `auroc`, and `difference`, the detector's AUROC less this one. Both have 95% intervals from resamples of questions
      that all methods share.
    - `lowest` and `highest`, over the single sets.
    - `reaching`: the number of sets at or above the detector.
    - `matching`: the number of random sets at or above the H-neurons fitted in the same way, on the same rows.
    """

    method: str
    auroc: Estimate
    difference: Estimate
    sets: int
    lowest: float
    highest: float
    reaching: int
    matching: int | None = None

    @property
    def p(self) -> float | None:
        """One-sided, (1 + matching) / (1 + sets): how rarely random neurons fitted alike do as well."""
        return None if self.matching is None else (1 + self.matching) / (1 + self.sets)


@dataclass(frozen=True)
class TransferResult(Row):
    """One dataset: answers of the base model to the run's test questions; every AUROC is NaN where a class is missing.

    `methods` holds, in this order:

    - the detector;
    - `SAME_FIT`: its H-neurons, fitted on the tuned model as the random sets are;
    - both kinds of random sets;
    - the same sets of neurons cross-fitted on the base model, with `REFITTED` before their names;
    - leak checks fitted on the tuned model's training answers.

    `on_tuned` holds the detector and the random sets on the tuned model's own test answers. It is empty without them.
    """

    name: str
    right: int
    wrong: int
    not_located: int
    methods: tuple[Transferred, ...]
    on_tuned: tuple[Transferred, ...]

    @property
    def detector(self) -> Transferred:
        return self.methods[0]


def check_transferable(
    detector: Detector, base: ModelIdentity, *, tokenizers: tuple[Any, Any] | None = None
) -> Detector:
    """The same detector, for another checkpoint of its model's architecture: shapes and tokenizer must be equal.

    Unlike `NeuronSet.check_model` this lets the weights and the rest of the config differ. `tokenizers` (the
    detector's, the base's) tell whether the two split text alike. They are needed where they differ by hash, as base
    and chat models often share a vocabulary and not the chat template. Raises `InputError` that names what differs.
    """
    own = detector.identity
    fields = ("architecture", "layers", "neurons", "hidden_size")
    differences = [
        f"{name.replace('_', ' ')}: {getattr(own, name)} against {getattr(base, name)}"
        for name in fields
        if getattr(own, name) != getattr(base, name)
    ]
    if own.tokenizer != base.tokenizer or tokenizers is not None:
        differences += _tokenizer_differences(own, base, tokenizers)
    if differences:
        raise InputError(
            f"a detector of {own.name} cannot be applied to {base.name} ({'; '.join(differences)}): give another "
            "checkpoint of the same architecture with the same tokenizer"
        )
    return replace(detector, identity=base)


def _tokenizer_differences(own: ModelIdentity, base: ModelIdentity, tokenizers: tuple[Any, Any] | None) -> list[str]:
    if tokenizers is None:
        return ["tokenizer: vocabulary or chat template differ; give both tokenizers to tell which"]
    mine, theirs = tokenizers
    if (tokenizer_hash(mine), tokenizer_hash(theirs)) != (own.tokenizer, base.tokenizer):
        return ["tokenizer: those given are not the two models'"]
    first, second = mine.get_vocab(), theirs.get_vocab()
    if len(first) != len(second):
        return [f"tokenizer: {len(first)} tokens against {len(second)}"]
    moved = sorted((token for token in first if second.get(token) != first[token]), key=first.__getitem__)
    if moved:
        return [f"tokenizer: token {moved[0]!r} is {first[moved[0]]} against {second.get(moved[0])}"]
    for text in _PROBES:
        found = [t(text, add_special_tokens=False)["input_ids"] for t in (mine, theirs)]
        if found[0] != found[1]:
            return [f"tokenizer: {text!r} is split into {len(found[0])} tokens against {len(found[1])}, or other ones"]
    return []


def transfer_detector(
    detector: Detector,
    train: Dataset,
    base: Mapping[str, Dataset],
    *,
    tuned: Mapping[str, Dataset] | None = None,
    tokenizers: tuple[Any, Any] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    out: Path | None = None,
) -> dict[str, TransferResult]:
    """Apply `detector` to the datasets of `base`, measured on another checkpoint, with weights as they are.

    `train` and `tuned` are rows of the detector's own model: those it was fitted on, and its test rows by the names
    in `base`. Random neurons are none of the detector's; their logistic fit is that of `evaluate_detector`, on `train`.
    The cross-fit goes over `FOLDS` groups of base questions. With `out` the result is kept there and read again, in
    place of one with other settings or rows.

    Raises `InputError` as `check_transferable` does, and for a question that was trained on; `NotEnoughDataError` for
    a training set of one class or a base dataset without located answers.
    """
    known = answer_rows(train, "train", detector=detector)
    check_both_classes(known, "train")
    measured = {
        name: ModelIdentity.from_row(data.contributions.manifest.settings["model"]) for name, data in base.items()
    }
    moved = {name: check_transferable(detector, found, tokenizers=tokenizers) for name, found in measured.items()}
    inputs = {"train": train.contributions.content}
    inputs |= {f"base {name}": data.contributions.content for name, data in base.items()}
    inputs |= {f"tuned {name}": data.contributions.content for name, data in (tuned or {}).items()}
    settings = {"draws": draws, "seed": seed, "detector": detector.data, "detector_settings": detector.settings}
    settings["random"] = "no neuron of the detector"
    stage = FileStage(out, stage=STAGE, settings=settings, inputs=inputs, replace=True)
    if stage.complete and out is not None:
        return load_transfer(out)
    sets = [
        _Base(name, answer_rows(data, name, detector=moved[name]), len(data.examples)) for name, data in base.items()
    ]
    for item in sets:
        check_unseen(known, item.rows, item.name)
    own = {n: answer_rows(data, n, detector=detector) for n, data in (tuned or {}).items() if n in base}
    found = _transfer(detector, known, sets, own, draws, seed)
    stage.finish({RESULT: dump_json(found) + b"\n"})
    return found


def load_transfer(folder: Path) -> dict[str, TransferResult]:
    """Read a finished `transfer` folder. Raises `InputError` or `ArtifactError`."""
    return read_result(
        folder, RESULT, lambda data: from_row(dict[str, TransferResult], load_json(data)), stage=STAGE, verb="origin"
    )


class _Base(NamedTuple):
    name: str
    rows: AnswerRows
    total: int


def _transfer(
    detector: Detector, train: AnswerRows, base: Sequence[_Base], tuned: Mapping[str, AnswerRows], draws: int, seed: int
) -> dict[str, TransferResult]:
    columns = detector.neuron_set().columns
    tests = [item.rows for item in base] + list(tuned.values())
    sets = {SAME_FIT: [columns] if len(columns) else []}
    sets |= random_sets(detector, draws, seed)
    plan = [columns for group in sets.values() for columns in group]
    with progress("transfer", len(plan)) as advance:
        fitted = []
        for found in _fit_all(train, tests, len(base), plan, seed):
            fitted.append(found)
            advance()
    results = {}
    for place, item in enumerate(base):
        own = {DETECTOR: [detector.decide(item.rows.matrix)]}
        moved = _regroup(sets, [f.transferred[place] for f in fitted])
        again = {f"{REFITTED}{k}": v for k, v in _regroup(sets, [f.cross_fitted[place] for f in fitted]).items()}
        checks = {scored.method: [scored.decided.values] for scored in score_rows(train, item.rows)[0]}
        there: tuple[Transferred, ...] = ()
        if item.name in tuned:
            rows, twin = tuned[item.name], len(base) + list(tuned).index(item.name)
            kinds = _regroup(sets, [f.transferred[twin] for f in fitted])
            there = _summarize({DETECTOR: [detector.decide(rows.matrix)], **kinds}, rows, seed)
        results[item.name] = TransferResult(
            name=item.name,
            right=int((~item.rows.labels).sum()),
            wrong=int(item.rows.labels.sum()),
            not_located=item.total - len(item.rows.labels),
            methods=_summarize({**own, **moved, **again, **checks}, item.rows, seed),
            on_tuned=there,
        )
    return results


def random_sets(detector: Detector, draws: int, seed: int) -> dict[str, list[Indices]]:
    """Of each of `RANDOM_KINDS`, sets of as many neurons as H-neurons, none with a weight in the detector."""
    columns, shape = np.sort(detector.neuron_set().columns), (detector.identity.layers, detector.identity.neurons)
    names = {ANY: ANY, LAYERS: "random neurons, same layers"}
    return {
        kind: [
            np.sort(chosen)
            for chosen in draw_sets(
                name, columns, shape, without=detector.columns, draws=draws, seed=seed, same_layers=kind == LAYERS
            )
        ]
        for kind, name in names.items()
    }


def _regroup(sets: Mapping[str, Sequence[Any]], values: Sequence[Floats]) -> dict[str, list[Floats]]:
    """One value a set, back under the names of the groups."""
    left = iter(values)
    return {name: [next(left) for _ in group] for name, group in sets.items()}


def _summarize(groups: Mapping[str, Sequence[Floats]], rows: AnswerRows, seed: int) -> tuple[Transferred, ...]:
    """Every group of decision values, the detector first, under the same resamples; undecided groups are left out."""
    groups = {name: group for name, group in groups.items() if len(group) and not np.isnan(group).any()}
    values = np.stack([decided for group in groups.values() for decided in group], axis=1)
    areas = np.vstack([
        [auroc(rows.labels, column) for column in values.T],
        bootstrap_aurocs(rows.labels, values, groups=rows.groups, seed=seed),
    ])  # fmt: skip
    n, units, place = len(set(rows.groups)), rows.fewest_groups, 0
    found: list[Transferred] = []
    names = [name for name, group in groups.items() for _ in group]
    own_fit = {name: float(area) for name, area in zip(names, areas[0], strict=True) if name.endswith(SAME_FIT)}
    for name, group in groups.items():
        own = areas[:, place : place + len(group)]
        place += len(group)
        alike = own_fit.get(f"{REFITTED}{SAME_FIT}" if name.startswith(REFITTED) else SAME_FIT)
        random = name.removeprefix(REFITTED) in RANDOM_KINDS and alike is not None and np.isfinite(alike)
        mean, gap = own.mean(axis=1), areas[:, 0] - own.mean(axis=1)
        found.append(
            Transferred(
                method=name,
                auroc=bounded_interval(mean[0], mean[1:], n, units=units, lowest=0, highest=1),
                difference=bounded_interval(gap[0], gap[1:], n, units=units, lowest=-1, highest=1)
                if found
                else percentile_interval(gap[0], gap[1:], n),  # to itself: 0 by construction
                sets=len(group),
                lowest=float(own[0].min()),
                highest=float(own[0].max()),
                reaching=int((own[0] >= areas[0, 0]).sum()),
                matching=int((own[0] >= alike).sum()) if random else None,
            )
        )
    return tuple(found)


class _Fitted(NamedTuple):
    """Decision values of one set of neurons: on every test, and cross-fitted on every base test."""

    transferred: list[Floats]
    cross_fitted: list[Floats]


def _fit_all(
    train: AnswerRows, tests: Sequence[AnswerRows], base: int, sets: Sequence[Indices], seed: int
) -> Iterator[_Fitted]:
    """The sets one after the other; as many as fit into memory are read together."""
    rows = len(train.labels) + sum(len(test.labels) for test in tests)
    step = max(1, _MEMORY // (4 * rows * max((len(columns) for columns in sets), default=1)))
    splits = [_split(test, seed) for test in tests[:base]]
    edges = np.cumsum([len(test.labels) for test in tests])[:-1]
    for first in range(0, len(sets), step):
        batch = sets[first : first + step]
        union = np.unique(np.concatenate(batch))
        known, values = _in_memory(train, union), [_read(test, union) for test in tests]
        everything = train._replace(matrix=ArrayMatrix(np.concatenate(values)))
        for columns in batch:
            places = np.searchsorted(union, columns)
            moved = refit(known, everything, places).values
            again = [_cross_fit(t, v, places, s) for t, v, s in zip(tests[:base], values, splits, strict=False)]
            yield _Fitted(list(np.split(moved, edges)), again)


def _read(rows: AnswerRows, columns: Indices) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows.matrix.gather(columns, _MEMORY).T)


def _in_memory(rows: AnswerRows, columns: Indices) -> AnswerRows:
    return rows._replace(matrix=ArrayMatrix(_read(rows, columns)))


def _split(rows: AnswerRows, seed: int) -> list[tuple[Indices, Indices]]:
    """Folds of whole questions, each fitted on both classes; none where a class has too few questions for that."""
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.asarray(rows.groups)
    folds = min(FOLDS, *(len(set(groups[rows.labels == wrong])) for wrong in (True, False)))
    if folds < 2:
        return []
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = [(seen, held) for seen, held in cut.split(np.zeros(len(groups)), rows.labels, groups) if len(held)]
    return parts if all(len(set(rows.labels[seen])) == 2 for seen, _ in parts) else []


def _cross_fit(
    rows: AnswerRows, values: NDArray[np.float32], places: Indices, folds: Sequence[tuple[Indices, Indices]]
) -> Floats:
    """Decision values from fits on the other questions; NaN where there are no folds."""
    decided = np.full(len(rows.labels), np.nan)
    for seen, held in folds:
        known, new = (
            rows._replace(labels=rows.labels[part], matrix=ArrayMatrix(values[part])) for part in (seen, held)
        )
        decided[held] = refit(known, new, places).values
    return decided
