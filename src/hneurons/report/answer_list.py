"""Every answer to the test questions, as the page of a run lists it, and where each neuron is strongest."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hneurons.core.errors import ArtifactError, InputError
from hneurons.core.types import Judgement
from hneurons.detection.evaluation import DatasetResult
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.runs.folder import RunFolder

LONGEST = 400  # characters of a question or answer that the page holds
MOST = 2000  # answers that the page holds
NEURONS = 20  # neurons whose strongest answers are looked for
STRONGEST = 10  # answers of each
_MEMORY = 1 << 28


def list_answers(run: RunFolder, results: Mapping[str, DatasetResult]) -> list[dict[str, Any]]:
    """One row an answer, those that the detector judged first.

    Keys are short, as a page holds many rows: i(d), q(uestion), t(ext), s(pan), v(erdict), r(eason), o(dds) and
    d(ataset).
    """
    rows = [row for result in results.values() for row in _rows_of(run, result)]
    return sorted(rows, key=lambda row: row["o"] is None)


def _rows_of(run: RunFolder, result: DatasetResult) -> list[dict[str, Any]]:
    name = result.name
    questions = _questions_of(run, name)
    judged = {j.id: j for j in run.load_judgements(name)}
    spans = {e.id: e.char_span for e in run.load_located(name)}
    odds = {example: value for example, _, value in result.items}
    return [
        {
            "i": response.id,
            "q": _cut(questions.get(response.question_id, response.question_id)),
            "t": _cut(response.text),
            "s": spans.get(response.id),
            "o": round(odds[response.id], 3) if response.id in odds else None,
            "d": name,
            **_verdict(judged.get(response.id)),
        }
        for response in run.load_responses(name)
    ]


def _questions_of(run: RunFolder, name: str) -> dict[str, str]:
    """Texts of questions by id; of a run that did not keep them, as earlier versions, those of selected answers."""
    try:
        return {question.id: question.text for question in run.load_questions(name)}
    except InputError:
        return {example.question.id: example.question.text for example in run.load_selected(name)}


def _verdict(judged: Judgement | None) -> dict[str, str]:
    if judged is None:
        return {"v": "unscored", "r": "not judged"}
    return {"v": judged.verdict, "r": "" if judged.reason == judged.verdict else _cut(judged.reason)}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def find_strongest(run: RunFolder, neurons: NeuronSet, dataset: str) -> dict[str, list[tuple[str, float]]]:
    """Where the first `NEURONS` neurons are strongest: "layer/neuron" -> ids of answers with the mean signal over them.

    Empty where there are no neurons, or where contributions are no longer there.
    """
    if not len(neurons):
        return {}
    try:
        measured = run.load_contributions(dataset)
    except (InputError, ArtifactError):
        return {}
    places = [number for number, row in enumerate(measured.rows) if row["region"] == "answer"]
    ids = [measured.rows[number]["example_id"] for number in places]
    values = np.asarray(measured.matrix(places).gather(neurons.columns[:NEURONS], _MEMORY), dtype=np.float64)
    found = {}
    for layer, neuron, row in zip(neurons.layers, neurons.neurons, values, strict=False):
        order = np.argsort(-row, kind="stable")[:STRONGEST]
        found[f"{layer}/{neuron}"] = [(ids[place], float(f"{row[place]:.4g}")) for place in order]
    return found
