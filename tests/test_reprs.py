"""Values as people meet them in Python: one line at the prompt, a table in a notebook, a data frame of pandas."""

import math
import re
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hneurons as hn
from hneurons.answers.judging import Judgements
from hneurons.answers.responses import Responses
from hneurons.answers.selection import Examples
from hneurons.benchmarks.results import AlphaResult, BenchmarkResult, ConditionResult
from hneurons.core.artifacts import Manifest
from hneurons.core.errors import MissingExtraError
from hneurons.core.showing import LINE, html_table, one_line
from hneurons.core.stats import Estimate
from hneurons.core.types import Judgement
from hneurons.detection.assessment import Assessment, Assessments, TokenRisk
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import DatasetResult, Score
from hneurons.detection.like_for_like import RandomNeurons
from hneurons.detection.scores import Cost, Scored, Scores
from hneurons.models.prompts import PromptStyle
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.releases.release import Release
from support.planted import make_dataset, make_example, make_identity
from support.tiny_run import make_plan

ODD = "<b>&\n\x1b[31m" + "x" * 300
"""Markup, a line break, a command to the terminal, and more than a line of text."""
SHARE = Estimate(0.7, 0.6, 0.8, 40)
FEATURES = make_dataset(12)


def make_detector(name: str = "tiny") -> Detector:
    identity = replace(make_identity((3, 40)), name=name)
    columns, coef = np.array([2, 47, 81, 99]), np.array([0.5, -1.0, 2.0, 0.25])
    chosen = np.array([0.9, 0.2, 1.0, np.nan])
    return Detector(identity, columns, coef, np.ones(4), chosen, 0.1, 0.25, {}, {})


def make_scores(name: str = "answer length") -> Scores:
    scored = Scored(name, "text", False, Cost(), 2.5, (1.0, 4.0, 3.0))
    return Scores(("q0#0", "q1#0", "q2#0"), (scored,), {"perplexity": f"{name} is not there"}, "c")


def make_result(name: str = "facts") -> DatasetResult:
    random = RandomNeurons(20, 3, (0.5, 0.4, 0.6), (0.51, 0.45, 0.6), "H-neurons, refitted")
    scores = (Score("H-neuron detector", SHARE, SHARE), Score(name, SHARE, SHARE))
    return DatasetResult(name, 20, 20, 1, scores, random, ((), ()), (("q0#0", False, -1.5), ("q1#0", True, 2.0)))


def make_assessments(name: str = "a") -> Assessments:
    tokens = (TokenRisk(0, 3, 1.0, -0.1), TokenRisk(3, 6, 2.0, -0.2))
    rows = [
        Assessment(name, 1.5, 0.82, True, (0, 6), tokens, {"perplexity": 1.2}, True),
        Assessment("b", math.nan, math.nan, None, None, (), {}, False, f"{name} is empty"),
        Assessment("c", -1.5, 0.18, False, (2, 4), tokens, {"perplexity": 1.1}, True),
    ]
    return Assessments(rows, Manifest(stage="score", settings={}, inputs={}, complete=True))


def make_benchmark(name: str = "faitheval") -> BenchmarkResult:
    cells = tuple(AlphaResult(alpha, SHARE, 40, {}, 0, SHARE, 1, 1) for alpha in (0.0, 1.0))
    chosen = ConditionResult("selected", "h_neurons", cells, Estimate(0.031, -0.01, 0.072, 40))
    return BenchmarkResult(name, "compliance", "letters", 40, 40, 8, (chosen,), ())


def make_examples(text: str = "Paris") -> Examples:
    made = [make_example(n, wrong=bool(n % 2), question=text, token_span=(0, 2) if n else None) for n in range(4)]
    return Examples([replace(e, response=replace(e.response, text=text + "!")) for e in made], {})


def make_release(name: str = "tiny") -> Release:
    return Release(Path("out"), make_detector(name), {"failed_on": ["nec"], "domains": [{}, {}]})


def make_values(text: str) -> list[Any]:
    """One value of each public kind, with `text` wherever text goes."""
    examples = make_examples(text)
    responses = [example.response for example in examples.examples]
    judgements = [Judgement("q0", 0, "correct", text), Judgement("q1", 0, "incorrect", text)]
    return [
        *(make_detector(text), make_detector(text).neuron_set(), make_release(text), FEATURES.contributions),
        *(make_scores(text), make_result(text), make_benchmark(text), make_assessments(text)),
        *make_assessments(text).rows,
        *(examples, examples.examples[0], examples.examples[1], responses[0]),
        *(Responses(responses, PromptStyle(), {}), Judgements(judgements, {})),
    ]


@pytest.mark.parametrize("value", make_values(ODD), ids=lambda value: type(value).__name__)
def test_every_public_value_is_said_in_one_line(value: Any) -> None:
    said = repr(value)
    assert len(said) <= LINE and said.isprintable()
    assert said.startswith(f"{type(value).__name__}(") and said.endswith(")")


def test_the_line_says_what_the_value_holds() -> None:
    assert repr(make_detector()) == "Detector(4 neurons, 3 of positive weight, of tiny, threshold 0.25)"
    assert repr(make_detector().neuron_set()) == "NeuronSet(3 neurons of tiny, signal cett)"
    assert repr(FEATURES.contributions) == ("Contributions(24 rows of 3 layers x 40 neurons, signal cett, in memory)")
    assert repr(make_scores()) == "Scores(1 method on 3 answers, 1 left out)"
    assert repr(make_result()) == "DatasetResult(facts, 20 right + 20 wrong answers, AUROC 0.700 [0.600, 0.800])"
    assert repr(make_benchmark()) == (
        "BenchmarkResult(faitheval, compliance of 40 items, 1 condition, slope +3.10 pp [-1.00, 7.20] per alpha)"
    )
    assert repr(make_assessments()) == "Assessments(3 answers, 1 likely made up, 1 without a score)"
    first, second, third = make_assessments().rows
    assert repr(first) == "Assessment(a, likely made up, risk 0.82, log odds +1.50, 2 tokens)"
    assert repr(second) == "Assessment(b, no score: a is empty)"
    assert repr(third) == "Assessment(c, not called made up, risk 0.18, log odds -1.50, 2 tokens)"
    assert repr(make_release()) == "Release(4 neurons of tiny, failed on 1 of 2 domains, out)"


def test_stages_say_counts_and_not_their_contents() -> None:
    examples = make_examples()
    assert repr(examples) == "Examples(2 right + 2 wrong answers, 3 located)"
    responses = [e.response for e in examples.examples]
    cut = [replace(responses[0], sample=1, finish_reason="length")]
    assert repr(Responses(responses + cut, PromptStyle(), {})) == "Responses(5 to 4 questions, 1 truncated)"
    judgements = [Judgement("q0", 0, "correct"), Judgement("q1", 0, "unscored"), Judgement("q2", 0, "correct")]
    assert repr(Judgements(judgements, {})) == "Judgements(3 in all, 2 correct, 1 unscored)"
    assert repr(responses[1]) == "Response(q1#0, 3 tokens, stop, 'Paris!')"
    assert repr(examples.examples[1]) == "Example(q1#0, incorrect, train, 'Pa' to 'Paris')"


def test_a_run_says_its_model_its_questions_and_how_far_it_is(tmp_path: Path) -> None:
    run = hn.Run(tmp_path / "run", make_plan(tmp_path))
    assert repr(run).startswith(f"Run({tmp_path}") and len(repr(run)) <= LINE
    short = hn.RunFolder(tmp_path / "run")
    short.folder, short.plan = Path("mine"), replace(run.plan, model="m", questions="facts", tests=("nec",))
    assert repr(short) == "RunFolder(mine, m on facts, nec, no detector yet)"


def test_a_line_is_cut_where_it_is_too_long_and_nowhere_else() -> None:
    fits = "x" * (LINE - len("int()"))
    assert one_line(1, fits) == f"int({fits})"
    assert one_line(1, fits + "x") == f"int({fits[:-1]}…)"
    assert one_line(1, "a", "", "b") == "int(a, b)"


@pytest.mark.parametrize(
    "value", [v for v in make_values(ODD) if hasattr(v, "_repr_html_")], ids=lambda value: type(value).__name__
)
def test_tables_in_notebooks_escape_what_they_show(value: Any) -> None:
    page = value._repr_html_()
    assert set(re.findall(r"</?\w+>", page)) == {
        *("<table>", "</table>", "<caption>", "</caption>", "<tr>", "</tr>", "<th>", "</th>", "<td>", "</td>")
    }
    assert "<b>" not in page and "\x1b" not in page
    assert ODD.replace("\x1b", "\ufffd") in unescape(page)


def test_a_table_has_a_caption_a_head_and_a_row_a_line() -> None:
    assert html_table("a < b", ("x",), [(1,), ("&",)]) == (
        "<table><caption>a &lt; b</caption><tr><th>x</th></tr><tr><td>1</td></tr><tr><td>&amp;</td></tr></table>"
    )


def test_the_strongest_neurons_come_first_and_no_more_than_ten() -> None:
    many = NeuronSet.from_columns(make_identity((3, 40)), np.arange(30), np.arange(30.0), data={})
    rows = re.findall(r"<tr><td>(\d+)</td><td>(\d+)</td>", many._repr_html_())
    assert rows == [("0", str(n)) for n in range(29, 19, -1)]
    assert make_detector()._repr_html_() == make_detector().neuron_set()._repr_html_()


def test_neurons_as_a_data_frame_are_those_of_the_set() -> None:
    neurons = make_detector().neuron_set()
    frame = neurons.to_pandas()
    assert list(frame.columns) == ["layer", "neuron", "weight", "selection_probability"]
    assert (frame["layer"] * 40 + frame["neuron"]).tolist() == neurons.columns.tolist() == [81, 2, 99]
    assert frame["weight"].tolist() == [2.0, 0.5, 0.25]
    assert frame["selection_probability"].isna().tolist() == [False, False, True]


def test_scores_as_a_data_frame_have_a_column_a_method() -> None:
    frame = make_scores().to_pandas()
    assert {example: dict(row) for example, row in frame.iterrows()} == {
        example: make_scores().of(example) for example in make_scores().ids
    }


def test_answers_as_a_data_frame_have_their_located_part_and_class() -> None:
    frame = make_examples().to_pandas()
    assert frame.index.tolist() == ["q0#0", "q1#0", "q2#0", "q3#0"]
    assert frame["answer"].isna().tolist() == [True, False, False, False] and frame["answer"].iloc[1] == "Pa"
    assert frame["hallucinated"].tolist() == [False, True, False, True]
    joined = frame.join(make_result().to_pandas()["log_odds"])
    assert joined["log_odds"].fillna(0).tolist() == [-1.5, 2.0, 0, 0]


def test_assessments_as_a_data_frame_keep_answers_without_a_score() -> None:
    frame = make_assessments().to_pandas()
    assert frame.index.tolist() == ["a", "b", "c"]
    assert frame["log_odds"].isna().tolist() == frame["perplexity"].isna().tolist() == [False, True, False]
    assert frame.loc["c", ["start", "end"]].tolist() == [2, 4] and frame.loc["b", "problem"] == "a is empty"
    assert frame["made_up"].tolist() == [True, None, False]


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"needs the package 'pandas'.*hneurons\[pandas\]"):
        make_scores().to_pandas()
