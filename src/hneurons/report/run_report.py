"""A run as one self-contained HTML page: result first, then how it came about, then what it does not show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from hneurons.benchmarks.results import neurons_id
from hneurons.core.artifacts import Manifest, write_atomic
from hneurons.core.errors import ArtifactError, MissingExtraError
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Example
from hneurons.core.wording import count, interval, percent, spread
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import DETECTOR, RANDOM, REFITTED, DatasetResult
from hneurons.detection.fitting import STABLE
from hneurons.detection.scores import SCORES
from hneurons.report import figures
from hneurons.report.bench_report import add_filters, run_sweeps
from hneurons.report.findings import (
    INVENTED,
    describe_result,
    explain_missing,
    is_testable,
    judge_result,
    list_caveats,
    read_difference,
)
from hneurons.report.origin_report import describe_origin
from hneurons.report.provenance import collect_versions, describe_command
from hneurons.runs.folder import RunFolder
from hneurons.runs.plan import TRAIN

REPORT = "report.html"
_SHOWN = 5  # examples of each kind
_TABLES = ("path", "stability", "chosen", "choice")  # settings that are shown in places of their own


def write_run_report(run: RunFolder) -> Path:
    """Write `report.html` into the run's folder and return its path; equal runs give equal bytes.

    Reads finished stages only and loads no model. Raises `InputError` or `ArtifactError` where detector or evaluation
    are missing or damaged, `ArtifactError` where they do not belong together, `MissingExtraError` without the report
    extra.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("jinja2", "report", "writing a report") from error
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"value": _value, "interval": interval}
    add_filters(environment)
    page = environment.get_template("run.html").render(_contents(run))
    path = run.folder / REPORT
    write_atomic(path, page)
    return path


def _contents(run: RunFolder) -> dict[str, Any]:
    detector = run.load_detector()
    results = run.load_evaluation()
    _check_same_detector(run.folder, detector)
    manifests = {name: run.manifests(name) for name in [TRAIN, *_datasets(run.folder, results)]}
    summaries = {name: {s: m.summary for s, m in stages.items()} for name, stages in manifests.items()}
    neurons = detector.neuron_set()
    testable = {name: result for name, result in results.items() if is_testable(result)}
    main = next(iter((testable or results).values()), None)
    path = detector.settings.get("path", [])
    chosen = detector.settings.get("chosen", 0)
    return {
        "plan": run.plan,
        "identity": detector.identity,
        "detector": detector,
        "neurons": neurons,
        "negative": len(detector.columns) - len(neurons),
        "headline": describe_result(detector, main) if main else "No test set could be evaluated.",
        "reading": judge_result(main) if main and len(detector.columns) else "",
        "elsewhere": [(r.name, interval(r.detector.auroc), judge_result(r)) for r in results.values() if r is not main],
        "counts": _count_rows(summaries),
        "datasets": list(summaries),
        "detection": [_detection(r, summaries.get(r.name, {})) for r in results.values()],
        "missing": {n: explain_missing(s) for n, s in summaries.items() if n not in results and n != TRAIN},
        "rivals": {name: f"{said[:1].lower()}{said[1:].rstrip('.')}" for name, said in SCORES.summaries().items()},
        "figures": {
            "detection": figures.draw_detection(testable),
            "roc": figures.draw_roc(testable),
            "layers": figures.draw_layers(neurons),
            "weights": figures.draw_weights((detector.coef * detector.scale).tolist()),
            "stability": figures.draw_stability(neurons, STABLE),
            "path": figures.draw_path(path, chosen),
        },
        "strongest": _strongest(neurons),
        "stability": detector.settings.get("stability"),
        "path": path,
        "chosen": chosen,
        "choice": detector.settings.get("choice"),
        "sweeps": run_sweeps(run.folder, neurons_id(neurons)),
        "main": main.name if main else "",
        "examples": _examples(run, detector, main) if main else [],
        "settings": asdict(run.plan),
        "fit_settings": {k: v for k, v in detector.settings.items() if k not in _TABLES},
        "data": detector.data,
        "style": manifests[TRAIN]["responses"].settings["style"] if "responses" in manifests[TRAIN] else None,
        "versions": collect_versions([m for stages in manifests.values() for m in stages.values()]),
        "command": describe_command(run, manifests[TRAIN]),
        "origin": describe_origin(run.folder),
        "caveats": list_caveats(run.plan, detector, results, summaries),
    }


def _check_same_detector(folder: Path, detector: Detector) -> None:
    known = Manifest.load(folder / "evaluation").settings.get("detector_settings")
    if fingerprint(known) != fingerprint(detector.settings):
        raise ArtifactError(
            f"the evaluation in {folder} is of another detector than the one beside it: delete {folder / 'evaluation'} "
            "and run 'evaluate' again"
        )


def _datasets(folder: Path, results: Mapping[str, DatasetResult]) -> list[str]:
    """Test sets in the order of the evaluation, then those without one."""
    there = sorted(p.name for p in (folder / "test").iterdir()) if (folder / "test").is_dir() else []
    return list(dict.fromkeys([*results, *there]))


class _Count(NamedTuple):
    """One line of the table of counts; `kind` is "stage", "detail" or "dropped"."""

    label: str
    kind: str
    cells: list[str]


def _count_rows(summaries: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[_Count]:
    """Counts stage by stage, one cell a dataset; lines that are zero or unknown everywhere are left out."""
    reasons = sorted({r for s in summaries.values() for r in s.get("examples", {}).get("dropped", {})})
    lines = [
        ("questions", "stage", ("responses", "questions")),
        ("asked before the quotas were full", "stage", ("responses", "asked")),
        ("stopped early: samples disagreed, or the class was full", "detail", ("responses", "stopped_early")),
        ("responses", "stage", ("responses", "responses")),
        ("truncated", "detail", ("responses", "truncated")),
        *((f"judged {v}", "detail", ("verdicts", "verdicts", v)) for v in _VERDICTS),
        ("consistent, right + wrong", "stage", ("examples", "consistent")),
        *((f"dropped: {reason}", "dropped", ("examples", "dropped", reason)) for reason in reasons),
        ("selected, right + wrong", "stage", ("examples", "selected")),
        ("located, right + wrong", "stage", ("spans", "found")),
        ("answer not found, right + wrong", "dropped", ("spans", "not_found")),
        ("rows of contributions", "stage", ("contributions", "rows")),
    ]
    rows = []
    for label, kind, keys in lines:
        found = [_dig(s, keys) for s in summaries.values()]
        if kind == "stage" or any(f not in (None, 0, {"right": 0, "wrong": 0}) for f in found):
            rows.append(_Count(label, kind, [_count_cell(f, known=keys[0] in s) for f, s in
                                             zip(found, summaries.values(), strict=True)]))  # fmt: skip
    return rows


_VERDICTS = ("correct", "incorrect", "abstained", "unscored")


def _dig(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _count_cell(value: Any, *, known: bool) -> str:
    if value is None:
        return "0" if known else "–"
    return f"{value['right']:,} + {value['wrong']:,}" if isinstance(value, Mapping) else f"{value:,}"


class _Row(NamedTuple):
    method: str
    accuracy: str
    auroc: str
    reading: str


def _detection(result: DatasetResult, summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A dataset's block of the detection table."""
    area = result.detector.auroc
    rows = []
    for score in result.scores:
        rows.append(
            _Row(
                score.method,
                percent(score.accuracy),
                interval(score.auroc),
                read_difference(result.difference(DETECTOR, score.method)),
            )
        )
    drawn = result.random
    if drawn.size:
        mean, low, high = (100 * v for v in drawn.accuracy)
        line = _Row(
            f"{count(drawn.size, 'random neuron')}, {drawn.draws} draws",
            spread(mean, low, high, 1),
            spread(*drawn.auroc) if is_testable(result) else "not testable",
            read_difference(result.difference(DETECTOR, RANDOM)),
        )
        rows.insert(1 + any(s.method == REFITTED for s in result.scores), line)
    return {
        "result": result,
        "rows": rows,
        "fair": read_difference(result.difference(REFITTED, RANDOM)),
        "questions": area.n,
        "invented": summaries.get("examples", {}).get("contrast") == INVENTED,
    }


def _strongest(neurons: Any) -> list[tuple[int, int, float, float]]:
    columns = (neurons.layers, neurons.neurons, neurons.weights, neurons.selection_probability)
    return list(zip(*(c.tolist() for c in columns), strict=True))[:20]


def _examples(run: RunFolder, detector: Detector, result: DatasetResult) -> list[dict[str, Any]]:
    """Answers of one test set: those the detector is surest of, rightly and wrongly, strongest first."""
    known = {e.id: e for e in run.load_located(result.name)}
    reasons = {j.id: j.reason for j in run.load_judgements(result.name)}
    items = [(known[i], wrong, odds) for i, wrong, odds in result.items if i in known]
    flagged = detector.threshold
    kinds = (
        ("Wrong answers it calls made up", [x for x in items if x[1] and x[2] > flagged], True),
        ("Right answers it lets pass", [x for x in items if not x[1] and x[2] <= flagged], False),
        ("Mistakes: wrong answers it lets pass", [x for x in items if x[1] and x[2] <= flagged], False),
        ("Mistakes: right answers it calls made up", [x for x in items if not x[1] and x[2] > flagged], True),
    )
    return [
        {
            "title": title,
            "total": len(chosen),
            "items": [
                _card(example, odds, reasons.get(example.id, ""))
                for example, _, odds in sorted(chosen, key=lambda x: (-x[2] if falling else x[2], x[0].id))[:_SHOWN]
            ],
        }
        for title, chosen, falling in kinds
    ]


def _card(example: Example, odds: float, reason: str) -> dict[str, Any]:
    text, (start, end) = example.response.text, example.char_span or (0, 0)
    return {
        "question": example.question.text,
        "before": text[:start],
        "answer": text[start:end],
        "after": text[end:],
        "verdict": example.verdict,
        "reason": reason,
        "known": list(example.question.answers[:4]),
        "more": max(0, len(example.question.answers) - 4),
        "odds": odds,
        "id": example.id,
    }


def _value(value: Any) -> str:
    """Any setting or number for people: missing as a dash, floats to four digits."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "–"
    return str(value)
