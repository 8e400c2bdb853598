"""`hneurons calibrate` and `abstain`: from scores to probabilities and decisions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hneurons.detection.decisions.abstention import Guarantee
    from hneurons.models.language_model import LanguageModel
    from hneurons.runs.labelled import Labelled

Source = Annotated[str, typer.Argument(help="Run, folder of a detector, or release.")]
Data = Annotated[
    str | None,
    typer.Option(help="Test set of the run, or FILE of recorded answers with labels; default: the first test set."),
]
ModelName = Annotated[
    str | None, typer.Option(help="Hub id, local folder, .gguf file or packaged model; default: the run's.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; default: cuda where there is one.")]
Rows = Annotated[int, typer.Option(min=1, help="Answers that run at a time; lower it when memory is short.")]
Json = Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")]
JudgeUrl = Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint of the llm finder.")]
JudgeModel = Annotated[str, typer.Option(help="Model name at that endpoint.")]


def calibrate(
    source: Source,
    data: Data = None,
    method: Annotated[str, typer.Option(help="shift (threshold only), platt, beta or isotonic.")] = "platt",
    error_rate: Annotated[
        float | None, typer.Option(help="Share of wrong answers to state for; default: that of the data.")
    ] = None,
    refit: Annotated[
        Path | None,
        typer.Option(help="Folder of a new detector: its neurons with weights fitted on half of the answers."),
    ] = None,
    model: ModelName = None,
    judge_url: JudgeUrl = None,
    judge_model: JudgeModel = "default",
    device: Device = None,
    rows: Rows = 16,
    json: Json = False,
) -> None:
    """Turn a detector's log odds into probabilities, on labelled answers as they were drawn."""
    from hneurons.cli.output import make_console, print_json
    from hneurons.detection.decisions.calibration import calibrate_scores, check_calibration, describe_calibration
    from hneurons.detection.decisions.refitting import refit_weights

    check_calibration(method, error_rate)
    if refit is not None:
        _check_new(refit)
    found = _labelled(source, data, model, judge_url, judge_model, device, rows)
    scores, folder = found.scores, found.folder
    if refit is not None:
        detector, scores = refit_weights(found.detector, scores, questions=found.questions)
        folder = refit
    calibration = calibrate_scores(scores, method=method, error_rate=error_rate)  # type: ignore[arg-type]
    if refit is not None:
        detector.save(refit)
    place = calibration.save(folder)
    if json:
        print_json({**{k: v for k, v in calibration.to_row().items() if k != "groups"}, "calibration": str(place)})
        return
    console = make_console()
    console.print(describe_calibration(calibration))
    console.print(_quality_table(calibration))
    _print_left_out(console, calibration.left_out)
    console.print(f"calibration: {place}", soft_wrap=True)


def _check_new(folder: Path) -> None:
    from hneurons.core.errors import InputError

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty: give --refit a new folder")


def abstain(
    source: Annotated[
        str | None, typer.Argument(help="Run, folder of a detector, or release; without it labels are counted.")
    ] = None,
    data: Data = None,
    target_precision: Annotated[float, typer.Option(help="Share of right answers among those answered.")] = 0.9,
    confidence: Annotated[float, typer.Option(help="Probability with which that holds.")] = 0.9,
    expected_coverage: Annotated[
        float | None, typer.Option(help="Before labelling: the share of answers that should be answered.")
    ] = None,
    expected_precision: Annotated[
        float | None, typer.Option(help="Before labelling: the share of right answers expected among them.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="Thresholds at order statistics (order), or fixed without an assumption (fixed).")
    ] = "order",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the third of the answers that is kept apart.")] = 0,
    model: ModelName = None,
    judge_url: JudgeUrl = None,
    judge_model: JudgeModel = "default",
    device: Device = None,
    rows: Rows = 16,
    json: Json = False,
) -> None:
    """Choose which answers to give, with a guarantee of their precision; or say that none can be given."""
    from hneurons.cli.output import make_console, print_json
    from hneurons.core.errors import InputError
    from hneurons.detection.decisions.abstention import check_guarantee, guarantee_precision

    check_guarantee(target_precision, confidence, method)
    if source is None:
        if expected_coverage is None or expected_precision is None:
            raise InputError("give a run, or --expected-coverage and --expected-precision to count the labels it needs")
        _print_labels(target_precision, confidence, expected_coverage, expected_precision, json)
        return
    found = _labelled(source, data, model, judge_url, judge_model, device, rows)
    guarantee = guarantee_precision(
        found.scores,
        target_precision=target_precision,
        confidence=confidence,
        method=method,  # type: ignore[arg-type]
        seed=seed,
    )
    place = guarantee.save(found.folder)
    if json:
        shown = {k: v for k, v in guarantee.to_row().items() if k != "rows"}
        print_json({**shown, "found": guarantee.found, "guarantee": str(place)})
    else:
        _print_guarantee(make_console(), guarantee)
        make_console().print(f"guarantee: {place}", soft_wrap=True)


def _print_labels(target: float, confidence: float, coverage: float, precision: float, json: bool) -> None:
    from hneurons.cli.output import make_console, print_json
    from hneurons.detection.decisions.fixed_sequence import labels_needed

    found = labels_needed(target, confidence, coverage=coverage, precision=precision)
    if json:
        print_json(found._asdict())
        return
    make_console().print(
        f"A precision of {target:g} at confidence {confidence:g} needs {found.expected:,} labelled answers if "
        f"{coverage:.0%} of them are answered and {precision:.1%} of those are right. It then succeeds in four of five "
        f"draws. Without a single error it needs {found.without_errors:,}. The third that is kept apart is counted."
    )


def _print_guarantee(console: Any, guarantee: "Guarantee") -> None:
    from hneurons.core.wording import interval
    from hneurons.detection.decisions.abstention import describe_guarantee, describe_untouched

    console.print(describe_guarantee(guarantee))
    if guarantee.untouched is not None:
        console.print(describe_untouched(guarantee.untouched, guarantee.confidence))
    curve = guarantee.curve
    console.print(
        f"AURC {interval(curve.aurc)}, above the oracle's by {interval(curve.e_aurc)}; PRR {interval(curve.prr)}"
    )
    _print_left_out(console, guarantee.left_out)


def _labelled(
    source: str,
    data: str | None,
    model: str | None,
    judge_url: str | None,
    judge_model: str,
    device: str | None,
    rows: int,
) -> "Labelled":
    from hneurons.models.endpoint import open_endpoint
    from hneurons.runs.labelled import label_and_score

    def load(name: str, dtype: str) -> "LanguageModel":
        from hneurons.models.language_model import load_model

        return load_model(name, dtype=dtype, device=device)  # type: ignore[arg-type]

    endpoint = open_endpoint(judge_url, judge_model)
    return label_and_score(source, data, load=load, model=model, endpoint=endpoint, batch_size=rows)


def _quality_table(calibration: Any) -> Any:
    from rich.table import Table

    from hneurons.core.wording import interval

    table = Table("map", "calibration error", "Brier score", title="on answers that the fit left out")
    for quality in calibration.qualities:
        chosen = " (chosen)" if quality.method == calibration.calibrator.method else ""
        table.add_row(f"{quality.method}{chosen}", interval(quality.error), interval(quality.brier))
    return table


def _print_left_out(console: Any, left_out: dict[str, int]) -> None:
    if left_out:
        console.print("left out: " + ", ".join(f"{number} {reason}" for reason, number in left_out.items()))
