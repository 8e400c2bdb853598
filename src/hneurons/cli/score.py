"""`hneurons score`: what a detector says of answers that exist."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hneurons.detection.assessment import Answer, Assessment


def score(
    detector: Annotated[str, typer.Argument(help="Run, detector, release or hub id.")],
    question: Annotated[str | None, typer.Option(help="The question, as it was put to the model.")] = None,
    answer: Annotated[str | None, typer.Option(help="The answer to score.")] = None,
    context: Annotated[str, typer.Option(help="What the model was given to read before the question.")] = "",
    file: Annotated[
        Path | None, typer.Option(help="Many answers: rows of question and response (JSONL, JSON, CSV, TSV, Parquet).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the scores of --file; the same command resumes.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="What to do with an answer: .toml or .json, see docs.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Hub id, local folder, .gguf file or packaged model; default: the run's.")
    ] = None,
    judge_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint of the llm finder.")] = None,
    judge_model: Annotated[str, typer.Option(help="Model name at that endpoint.")] = "default",
    dtype: Annotated[
        str | None, typer.Option(help="auto, float32, bfloat16 or float16; default: the run's, else auto.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; default: cuda where there is one.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Answers that run at a time; lower it when memory is short.")] = 16,
    json: Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")] = False,
) -> None:
    """Score an answer that exists: its risk of being made up, for the whole and for every token."""
    from hneurons.cli.output import make_console, print_json, print_tree
    from hneurons.core.errors import InputError
    from hneurons.detection.assessing import assess_answers
    from hneurons.detection.decisions.deciding import load_decisions
    from hneurons.models.endpoint import open_endpoint
    from hneurons.models.language_model import load_model
    from hneurons.runs.detectors import open_for_answers

    asked = _read(question, answer, context, file)
    if (file is None) != (out is None):
        raise InputError("--file and --out go together: answers from a file are scored into a folder")
    source = open_for_answers(detector)
    if not (model or source.model):
        raise InputError(f"{detector} does not say which model it belongs to: add --model")
    decisions = load_decisions(source.folder, source.detector, policy=policy)
    guest = load_model(model or source.model, dtype=dtype or source.dtype, device=device)  # type: ignore[arg-type]
    found = assess_answers(
        guest, source.detector, asked, style=source.style, finder=source.finder,
        endpoint=open_endpoint(judge_url, judge_model), decisions=decisions, batch_size=rows, out=out,
    )  # fmt: skip
    if out is not None:
        summary = {**found.manifest.summary, "scores": str(out)}
        print_json(summary) if json else print_tree("score", summary)
    elif json:
        print_json(found.rows[0].to_row())
    else:
        _print_one(asked[0], found.rows[0])
        for sentence in decisions.sentences().values():
            make_console().print(sentence)
    if not any(row.made_up is not None for row in found.rows):
        raise InputError(f"no answer could be scored: {found.rows[0].problem}")


def _read(question: str | None, answer: str | None, context: str, file: Path | None) -> "list[Answer]":
    from hneurons.core.errors import InputError
    from hneurons.detection.answer_files import read_answers
    from hneurons.detection.assessment import Answer

    if file is not None:
        if question or answer or context:
            raise InputError("--file and --question exclude each other: put the question into the file")
        return list(read_answers(file))
    if not question or answer is None:
        raise InputError("give --question and --answer, or --file with many of them")
    return [Answer("answer", question, answer, context)]


def _print_one(answer: "Answer", found: "Assessment") -> None:
    """The verdict in one sentence, the answer's tokens with their risk, and the other scores."""
    from rich.table import Table

    from hneurons.cli.output import make_console
    from hneurons.core.wording import number
    from hneurons.detection.assessment import probability

    if found.span is None:
        return
    console, said = make_console(), answer.response[slice(*found.span)]
    verdict = "likely made up" if found.made_up else "not called made up"
    known = math.isfinite(found.probability)
    sure = f"probability {found.probability:.2f}" if known else f"risk {found.risk:.2f} (not calibrated)"
    console.print(f"'{said}' is {verdict}: {sure}, log odds {number(found.log_odds, 2, sign=True)}")
    if found.decision:
        console.print(f"decision: {found.decision}")
    if found.action:
        console.print(f"action by the policy: {found.action}")
    if not found.own_tokens:
        console.print("The text was encoded here; the model that wrote it may have used other tokens.")
    table = Table("token", "risk", "log-probability")
    for token in found.tokens:
        if token.start < found.span[1] and token.end > found.span[0]:
            table.add_row(repr(answer.response[token.start : token.end]), f"{probability(token.log_odds):.2f}",
                          f"{token.logprob:.2f}")  # fmt: skip
    console.print(table)
    others = Table("other score", "value (higher: more likely made up)")
    for name, value in found.scores.items():
        others.add_row(name, f"{value:.3f}")
    console.print(others)
