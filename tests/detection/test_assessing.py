"""Answers that exist are scored as the run that drew them scores them, token by token."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.answers.locating import locate_answers
from hneurons.answers.responses import sample_responses
from hneurons.core.errors import ArtifactError, InputError
from hneurons.core.types import Example, Question
from hneurons.detection import assessing as assessing_module
from hneurons.detection.assessing import assess_answers
from hneurons.detection.assessment import Answer, Assessment
from hneurons.detection.decisions.abstention import guarantee_precision
from hneurons.detection.decisions.deciding import Decisions
from hneurons.detection.decisions.policy import Policy, PolicyStep
from hneurons.detection.detector import Detector
from hneurons.models.endpoint import Completion, Endpoint
from hneurons.models.language_model import LanguageModel
from hneurons.models.prompts import PromptStyle
from hneurons.models.sampling import Sampling
from hneurons.neurons.contributions import Contributions, measure_contributions
from support.labelled import make_scores
from support.planted import read_tree
from support.tiny_models import tiny_model

STYLE = PromptStyle(shots=(("Which sea is black?", "The Black Sea"),))
Case = tuple[LanguageModel, Detector, list[Example], Contributions]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def case(request: pytest.FixtureRequest) -> Case:
    """A model, a detector of eight of its neurons, and located answers with their contributions."""
    model = tiny_model(request.param)
    questions = [Question(f"q{n}", f"Which river has number {n}{' and more' * (n % 4)}?", ("x",)) for n in range(24)]
    drawn = sample_responses(model, questions, n=1, style=STYLE, sampling=Sampling(max_new_tokens=12)).responses
    by_id = {question.id: question for question in questions}
    examples = [Example(by_id[r.question_id], r, "incorrect") for r in drawn if r.text.strip()]
    located = [e for e in locate_answers(examples, tokenizer=model.tokenizer).examples if e.token_span]
    contributions = measure_contributions(model, located, style=STYLE)
    rng = np.random.default_rng(0)
    columns = np.sort(rng.choice(model.shape[0] * model.shape[1], 8, replace=False))
    detector = Detector(
        model.identity, columns, rng.normal(size=8), np.ones(8), np.full(8, np.nan), 0.25, 0.1, {},
        {"style": STYLE.to_row(), "other": "response"},
    )  # fmt: skip
    return model, detector, located, contributions


def as_answers(examples: list[Example]) -> list[Answer]:
    return [Answer(e.id, e.question.text, e.response.text, token_ids=e.response.token_ids) for e in examples]


def evaluated(detector: Detector, contributions: Contributions) -> dict[str, float]:
    """What `evaluate` decides of each answer, by example id."""
    numbers = [n for n, row in enumerate(contributions.rows) if row["region"] == "answer"]
    decided = detector.decide(contributions.matrix(numbers))
    return {contributions.rows[n]["example_id"]: float(value) for n, value in zip(numbers, decided, strict=True)}


def same(one: Assessment, other: Assessment, *, within: float = 1e-3) -> bool:
    tokens = zip(one.tokens, other.tokens, strict=True)
    return (
        (one.id, one.span, one.made_up) == (other.id, other.span, other.made_up)
        and abs(one.log_odds - other.log_odds) <= within
        and all(abs(a.log_odds - b.log_odds) <= within and abs(a.logprob - b.logprob) <= within for a, b in tokens)
    )


def test_log_odds_and_spans_are_those_of_the_runs_own_evaluation(case: Case) -> None:
    model, detector, examples, contributions = case
    expected = evaluated(detector, contributions)
    found = assess_answers(model, detector, as_answers(examples)).rows
    assert [row.id for row in found] == [example.id for example in examples]
    for row, example in zip(found, examples, strict=True):
        assert row.log_odds == pytest.approx(expected[example.id], abs=1e-3 * np.abs(detector.coef).sum())
        assert row.span == example.char_span and row.own_tokens and not row.problem
        assert row.risk == pytest.approx(1 / (1 + math.exp(-row.log_odds)))
        assert row.made_up == (row.log_odds > 0.1)


def test_the_contributions_of_the_neurons_add_up_to_the_log_odds(case: Case) -> None:
    model, detector, examples, contributions = case
    numbers = {r["example_id"]: n for n, r in enumerate(contributions.rows) if r["region"] == "answer"}
    for row, example in zip(assess_answers(model, detector, as_answers(examples)).rows, examples, strict=True):
        assert detector.intercept + sum(row.contributions) == pytest.approx(row.log_odds, abs=1e-3)
        measured = contributions.matrix([numbers[example.id]]).gather(detector.columns, 1 << 20)[:, 0]
        assert row.contributions == pytest.approx((detector.coef * measured).tolist(), abs=2e-3)


def test_log_probabilities_and_the_scores_made_of_them_are_those_of_drawing(case: Case) -> None:
    model, detector, examples, _ = case
    for row, example in zip(assess_answers(model, detector, as_answers(examples)).rows, examples, strict=True):
        assert example.token_span is not None
        np.testing.assert_allclose([t.logprob for t in row.tokens], example.response.logprobs, atol=2e-3)
        mean = np.mean(example.response.logprobs[slice(*example.token_span)])
        assert row.scores["perplexity"] == pytest.approx(np.exp(-mean), rel=5e-3)


def test_the_log_odds_are_the_mean_of_the_answer_tokens_and_offsets_name_their_characters(case: Case) -> None:
    model, detector, examples, _ = case
    for row, example in zip(assess_answers(model, detector, as_answers(examples)).rows, examples, strict=True):
        assert example.token_span is not None
        inside = row.tokens[slice(*example.token_span)]
        assert row.log_odds == pytest.approx(np.mean([token.log_odds for token in inside]), abs=1e-3)
        said = example.response.text
        assert inside[0].start <= row.span[0] < row.span[1] <= inside[-1].end <= len(said)  # type: ignore[index]


def test_an_answer_is_scored_alike_alone_and_beside_others_in_any_order(case: Case) -> None:
    model, detector, examples, _ = case
    answers = as_answers(examples)
    together = assess_answers(model, detector, answers).rows
    backwards = assess_answers(model, detector, answers[::-1], batch_size=3).rows[::-1]
    alone = [assess_answers(model, detector, [answer]).rows[0] for answer in answers[:6]]
    assert all(same(a, b) for a, b in zip(together, backwards, strict=True))
    assert all(same(a, b) for a, b in zip(together, alone, strict=False))


def test_pasted_text_is_encoded_here_and_says_so(case: Case) -> None:
    model, detector, _, _ = case
    answer = Answer("a", "Which river is long?", "The Nile, I think.")
    (found,) = assess_answers(model, detector, [answer]).rows
    ids = tuple(model.tokenizer(answer.response, add_special_tokens=False)["input_ids"])
    (own,) = assess_answers(model, detector, [replace(answer, token_ids=ids)]).rows
    assert not found.own_tokens and own.own_tokens and same(found, own, within=1e-6)


def test_a_context_changes_the_risk_and_a_conversation_is_taken_as_it_is() -> None:
    model = tiny_model("llama")
    columns = np.arange(8)
    detector = Detector(model.identity, columns, np.ones(8), np.ones(8), np.full(8, np.nan), 0.0, 0.0, {},
                        {"style": PromptStyle().to_row()})  # fmt: skip
    plain = Answer("a", "Which river is long?", "The Nile")
    asked = replace(plain, id="b", context="The Nile is in Africa.")
    talk = replace(plain, id="c", messages=(("user", "Which river is long?"),))
    found = assess_answers(model, detector, [plain, asked, talk]).rows
    assert abs(found[0].log_odds - found[1].log_odds) > 1e-4
    assert found[2].log_odds == pytest.approx(found[0].log_odds, abs=1e-4)  # in base format no instruction is added


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"response": " \n"}, "the response is empty"),
        ({"response": "..."}, "no short answer"),
        ({"response": "word " * 3000}, "longer than the model's window"),
        ({"question": "word " * 3000}, "longer than the model's window"),
        ({"messages": (("user", "word " * 3000),)}, "longer than the model's window"),
        ({"response": "lone \ud800"}, "cannot encode"),
        ({"token_ids": (50, 51)}, "do not decode to the response"),
        ({"token_ids": (10**9,)}, "do not decode to the response"),
        ({"response": "AB", "token_ids": (34, 35, 300)}, "do not decode to the response"),  # 300 decodes to nothing
        ({"response": "B", "token_ids": (34, 35)}, "do not decode to the response"),
        ({"question": "lone \ud800"}, "cannot encode"),
        ({"messages": (("user", "lone \ud800"),)}, "cannot encode"),
        ({"messages": (("system", "Be brief."), ("user", "Why?"))}, "no chat template"),
    ],
)
def test_an_answer_that_cannot_be_scored_says_why_and_spoils_no_other(changes: dict[str, Any], said: str) -> None:
    model = tiny_model("llama")
    detector = Detector(model.identity, np.arange(4), np.ones(4), np.ones(4), np.full(4, np.nan), 0.0, 0.0, {},
                        {"style": PromptStyle().to_row()})  # fmt: skip
    good = Answer("good", "Which river is long?", "The Nile")
    found = assess_answers(model, detector, [replace(good, id="bad", **changes), good])
    bad, other = found.rows
    assert said in bad.problem and math.isnan(bad.log_odds) and bad.made_up is None and not bad.tokens
    assert same(other, assess_answers(model, detector, [good]).rows[0])
    assert found.manifest.summary["scored"] == 1 and found.manifest.summary["problems"] == {bad.problem: 1}


def test_a_killed_job_resumes_and_ends_with_the_same_rows(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, detector, examples, _ = case
    monkeypatch.setattr(assessing_module, "CHUNK", 5)
    answers = as_answers(examples)
    assess_answers(model, detector, answers, out=tmp_path / "whole")
    run, passes = assessing_module._Reader._run, []

    def dying(self: Any, batch: Any, past: Any) -> Any:
        passes.append(len(batch))
        if len(passes) == 3:
            raise KeyboardInterrupt
        return run(self, batch, past)

    monkeypatch.setattr(assessing_module._Reader, "_run", dying)
    with pytest.raises(KeyboardInterrupt):
        assess_answers(model, detector, answers, out=tmp_path / "killed")
    found = assess_answers(model, detector, answers, out=tmp_path / "killed")
    assert len(found.rows) == len(answers) and sum(passes[3:]) == len(answers) - 10
    assert (tmp_path / "killed" / "rows.jsonl").read_bytes() == (tmp_path / "whole" / "rows.jsonl").read_bytes()


@pytest.mark.parametrize("killed_in", [2, 3], ids=["before the alarm", "after the alarm"])
def test_from_the_alarm_on_the_policy_withholds_answers_and_a_killed_call_goes_on_so(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: int
) -> None:
    model, detector, examples, _ = case
    monkeypatch.setattr(assessing_module, "CHUNK", 2)
    answers = as_answers(examples)
    policy = Policy((PolicyStep(1.0, "answer"),), "abstain", weights={"log_odds": 0.0}, void="retrieve")
    elsewhere = make_scores(40, mean=-500)
    decisions = Decisions(guarantee=guarantee_precision(elsewhere), policy=policy)
    whole = assess_answers(model, detector, answers, decisions=decisions, out=tmp_path / "whole")
    since = whole.manifest.summary["drift"]["since"]
    assert 2 < since <= 4 < len(answers)
    wanted = ["answer"] * (since - 1) + ["retrieve"] * (len(answers) - since + 1)
    assert [row.action for row in whole.rows] == wanted
    run, passes = assessing_module._Reader._run, list[int]()

    def dying(self: Any, batch: Any, past: Any) -> Any:
        passes.append(len(batch))
        if len(passes) == killed_in:
            raise KeyboardInterrupt
        return run(self, batch, past)

    monkeypatch.setattr(assessing_module._Reader, "_run", dying)
    with pytest.raises(KeyboardInterrupt):
        assess_answers(model, detector, answers, decisions=decisions, out=tmp_path / "killed")
    assess_answers(model, detector, answers, decisions=decisions, out=tmp_path / "killed")
    assert read_tree(tmp_path / "killed") == read_tree(tmp_path / "whole")


def test_ctrl_c_keeps_every_finished_batch_of_the_open_chunk(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, detector, examples, _ = case
    answers = [*as_answers(examples), Answer("empty", "Which?", " ")]
    assess_answers(model, detector, answers, batch_size=2, out=tmp_path / "whole")
    run, passes = assessing_module._Reader._run, list[int]()

    def stop(reader: Any, batch: Any, past: Any) -> Any:
        passes.append(len(batch))
        if len(passes) in (3, 4):
            raise KeyboardInterrupt
        return run(reader, batch, past)

    monkeypatch.setattr(assessing_module._Reader, "_run", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            assess_answers(model, detector, answers, batch_size=2, out=tmp_path / "cut")
    assess_answers(model, detector, answers, batch_size=2, out=tmp_path / "cut")
    assert sum(passes[4:]) == len(examples) - 4
    assert read_tree(tmp_path / "cut") == read_tree(tmp_path / "whole")


def test_another_model_a_detector_without_prompts_and_ids_used_twice_are_refused(case: Case) -> None:
    model, detector, examples, _ = case
    answers = as_answers(examples)[:1]
    with pytest.raises(InputError, match="stands for several answers"):
        assess_answers(model, detector, answers * 2)
    with pytest.raises(InputError, match="does not say how its questions were put"):
        assess_answers(model, replace(detector, data={}), answers)
    with pytest.raises(InputError, match="no neurons"):
        assess_answers(model, replace(detector, columns=detector.columns[:0], coef=detector.coef[:0],
                                      scale=detector.scale[:0],
                                      selection_probability=detector.selection_probability[:0]), answers)  # fmt: skip
    with pytest.raises(InputError, match="needs an endpoint"):
        assess_answers(model, detector, answers, finder="llm")
    with pytest.raises(InputError):
        assess_answers(tiny_model("qwen2"), detector, answers)


class _Copying(Endpoint):
    """An endpoint that copies the response's first word, or its last one."""

    def __init__(self, model: str, place: int) -> None:
        super().__init__("http://localhost", model)
        self.place = place

    def complete_all(self, requests: Any, *given: Any, **options: Any) -> Any:
        said = [request.messages[-1][1].split("Response: ")[1].split("\n")[0].split() for request in requests]
        return [Completion(words[self.place], "stop", (), 0, 0) for words in said]


def test_scores_of_answers_that_another_model_found_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    model = tiny_model("llama")
    detector = Detector(model.identity, np.arange(4), np.ones(4), np.ones(4), np.full(4, np.nan), 0.0, 0.0, {},
                        {"style": PromptStyle().to_row()})  # fmt: skip
    answers = [Answer("a", "Which river is long?", "Nile or Rhine")]
    options: dict[str, Any] = {"finder": "llm", "out": tmp_path / "out"}
    first = assess_answers(model, detector, answers, endpoint=_Copying("one", 0), **options).rows[0]
    assert first.span == (0, 4)
    with pytest.raises(ArtifactError, match="finder was"):
        assess_answers(model, detector, answers, endpoint=_Copying("two", -1), **options)
