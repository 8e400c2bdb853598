"""Stage sample: rounds, quotas, resumption, and answers that depend on nothing but question and sample number."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers

from hneurons.answers import responses as responses_module
from hneurons.answers.judges.alias import judge_alias
from hneurons.answers.judging import label_responses
from hneurons.answers.responses import (
    Judge,
    group_by_question,
    is_hallucination,
    load_responses,
    sample_responses,
)
from hneurons.answers.selection import select_examples
from hneurons.core.artifacts import PENDING, RowStore
from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError, PromptTooLongError
from hneurons.core.files import read_checked, write_checked
from hneurons.core.timing import TIMING
from hneurons.core.types import Question, Response, Verdict
from hneurons.models.engine import Ask, Engine, LocalEngine, RecordedEngine, Reply, decode_answer
from hneurons.models.language_model import LanguageModel
from hneurons.models.prompts import PromptStyle
from hneurons.models.sampling import Sampling
from support.tiny_models import _config, tiny_model, tiny_tokenizer

SHORT, LONG = Sampling(max_new_tokens=4), Sampling(max_new_tokens=16)


class Said(NamedTuple):
    verdict: Verdict


def judge_by_length(question: Question, text: str) -> Said:
    return Said("abstained" if not text else "correct" if len(text) % 2 else "incorrect")


def make_questions(n: int, relations: int = 1) -> list[Question]:
    return [
        Question(f"q{i}", f"What is number {i * i} of {'x' * (i % 5)}?", ("a",), relation=f"r{i % relations}")
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    found: LanguageModel = tiny_model("llama")
    return found


@pytest.fixture(scope="module")
def ending() -> LanguageModel:
    """A model that ends most of its answers: half of ASCII are stop tokens."""
    found: LanguageModel = tiny_model("llama")
    found.model.generation_config.eos_token_id = list(range(1, 60))
    return found


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalEngine, "chunk", 4)


def follow_rule(
    drawn: Sequence[Response], question: Question, judge: Judge, n: int, rounds: tuple[int, ...], needed: int
) -> list[Response]:
    """The rule in plain words: after each round, stop if neither class can still reach `needed`."""
    kept: list[Response] = []
    for size in [*rounds, n]:
        kept = list(drawn[: min(len(kept) + size, n)])
        classes = Counter(is_hallucination(question, judge(question, r.text).verdict) for r in kept)
        if all(classes[c] + n - len(kept) < needed for c in (False, True)):
            break
    return kept


@pytest.mark.parametrize(
    ("n", "rounds", "needed"), [(10, (2, 3, 5), 10), (6, (2, 3, 5), 5), (5, (1, 1, 1), 5), (4, (9,), 4), (7, (3,), 7)]
)
def test_rounds_stop_exactly_where_no_class_can_reach_agreement(
    model: LanguageModel, n: int, rounds: tuple[int, ...], needed: int
) -> None:
    questions = make_questions(9)
    everything = group_by_question(sample_responses(model, questions, n=n, sampling=SHORT).responses)
    options: dict[str, Any] = {"n": n, "sampling": SHORT, "judge": judge_by_length, "rounds": rounds}
    found = sample_responses(model, questions, min_agreement=needed, **options)
    drawn = group_by_question(found.responses)
    sizes = set()
    for question in questions:
        expected = follow_rule(everything[question.id], question, judge_by_length, n, rounds, needed)
        assert [r.token_ids for r in drawn[question.id]] == [r.token_ids for r in expected]
        assert [r.sample for r in drawn[question.id]] == list(range(len(expected)))
        sizes.add(len(expected))
    if rounds[0] < n:
        assert min(sizes) < n
    assert found.summary["stopped_early"] == sum(len(d) < n for d in drawn.values())
    assert found.summary["responses"] == len(found.responses)


def test_without_a_judge_all_samples_are_drawn_in_question_order(model: LanguageModel) -> None:
    questions = make_questions(6)
    found = sample_responses(model, questions, n=3, sampling=SHORT)
    assert [r.id for r in found.responses] == [f"q{i}#{s}" for i in range(6) for s in range(3)]
    assert all(len(r.token_ids) == len(r.logprobs) == len(r.entropies) for r in found.responses)
    assert found.summary["truncated"] == sum(r.finish_reason == "length" for r in found.responses)
    assert found.summary["tokens"] == sum(len(r.token_ids) for r in found.responses)


def test_what_is_drawn_depends_on_question_and_sample_alone(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = make_questions(7)
    first = {r.id: r.token_ids for r in sample_responses(model, questions, n=3, sampling=SHORT).responses}
    monkeypatch.setattr(LocalEngine, "chunk", 100)
    again = sample_responses(model, questions[::-1][:5], n=4, sampling=SHORT, max_rows=2).responses
    assert {r.id: r.token_ids for r in again if r.sample < 3} == {
        k: v for k, v in first.items() if k.split("#")[0] in {q.id for q in questions[2:]}
    }


def test_a_window_narrower_than_the_prompts_changes_nothing() -> None:
    torch.manual_seed(0)
    config = _config("gemma3")
    config.sliding_window = 12
    tiny = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    for parameter in tiny.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(4)
    narrow = LanguageModel(tiny, tiny_tokenizer(), name="narrow")
    questions, style = make_questions(5), PromptStyle()
    found = sample_responses(narrow, questions, n=1, sampling=Sampling(temperature=0, max_new_tokens=6))
    for question, response in zip(questions, found.responses, strict=True):
        prompt = torch.tensor([narrow.encode(question.text, style)])
        assert prompt.shape[1] > 12
        out = narrow.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=6,
            eos_token_id=sorted(narrow.stops(style)),
            pad_token_id=0,
        )
        assert list(response.token_ids) == out[0, prompt.shape[1] :].tolist()


def test_sampling_ends_when_the_quota_is_full_and_a_class_far_ahead_is_not_pursued(
    ending: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses_module, "LEAD", 3)

    def judge(question: Question, text: str) -> Said:
        number = int(question.id[1:])
        return Said("correct" if number % 4 == 0 else "incorrect")

    questions = make_questions(60)
    found = sample_responses(ending, questions, n=4, sampling=LONG, judge=judge, quota=5)
    drawn = group_by_question(found.responses)
    right = [q for q in drawn if int(q[1:]) % 4 == 0 and len(drawn[q]) == 4]
    wrong = [q for q in drawn if int(q[1:]) % 4 != 0 and len(drawn[q]) == 4]
    # One right question a chunk of 4: the fifth chunk fills the quota, nothing is asked after it.
    assert len(right) == 5
    assert found.summary["asked"] == len(drawn) == 20
    # Three wrong ones a chunk: within a chunk nothing is decided anew, between chunks the lead counts.
    assert 5 <= len(wrong) < 15
    given_up = [q for q in drawn if int(q[1:]) % 4 != 0 and len(drawn[q]) < 4]
    assert given_up and all(len(drawn[q]) == 2 for q in given_up)


def test_a_question_outside_both_classes_is_given_up_and_quotas_count_by_relation(model: LanguageModel) -> None:
    found = sample_responses(model, make_questions(3), n=3, sampling=SHORT, judge=lambda q, text: Said("unscored"))
    assert [len(d) for d in group_by_question(found.responses).values()] == [2, 2, 2]

    def right_in_one_relation(question: Question, text: str) -> Said:
        return Said("correct" if question.relation == "r0" else "incorrect")

    questions = make_questions(24, relations=2)
    found = sample_responses(model, questions, n=2, sampling=SHORT, judge=right_in_one_relation, quota=2)
    assert found.summary["asked"] == 24  # no relation ever has a pair


def test_truncated_answers_alone_do_not_fill_a_quota_as_no_example_is_made_of_them(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(question: Question, text: str) -> Said:
        return Said("correct" if int(question.id[1:]) % 2 else "incorrect")

    questions = make_questions(24)
    cut = sample_responses(model, questions, n=2, sampling=Sampling(max_new_tokens=1), judge=judge, quota=2)
    whole = {r.question_id for r in cut.responses if r.finish_reason == "stop"}
    assert cut.summary["truncated"] > 40 and sum(int(q[1:]) % 2 for q in whole) < 2
    assert cut.summary["asked"] == 24


def test_a_training_set_about_invented_and_real_things_is_pursued_and_selected_alike(ending: LanguageModel) -> None:
    """Real things without known answers: a confident answer counts as right in sampling just as in selection."""
    questions = [
        Question(f"q{i}", f"What does the animal {i * i} eat?", relation="animal", answerable=i % 2 == 0)
        for i in range(12)
    ]
    rule: dict[str, Any] = {"n": 4, "min_agreement": 3}
    found = sample_responses(ending, questions, sampling=LONG, judge=judge_alias, **rule)
    everything = sample_responses(ending, questions, sampling=LONG, n=4)
    drawn = group_by_question(found.responses)
    assert any(len(drawn[q.id]) == 4 for q in questions if q.answerable)
    chosen = []
    for responses in (found.responses, everything.responses):
        judged = label_responses(questions, responses).judgements
        chosen.append(select_examples(questions, responses, judged, **rule))
    assert chosen[0].examples == chosen[1].examples and len(chosen[0].examples) >= 4
    assert chosen[0].summary["contrast"] == "invented against real"
    first = sample_responses(ending, questions, sampling=LONG, judge=judge_alias, quota=1, **rule)
    assert first.summary["asked"] == 4


def read_folder(folder: Path) -> dict[str, bytes]:
    kept = (p for p in sorted(folder.iterdir()) if p.suffix != ".tmp" and p.name != TIMING)
    return {p.name: p.read_bytes() for p in kept}


@pytest.mark.parametrize("crash_at", [0, 1, 2, 3])
@pytest.mark.parametrize("tail", [b"", b'{"question_id": "q9", "sam'])
def test_a_run_killed_in_any_chunk_ends_with_the_same_bytes(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int, tail: bytes
) -> None:
    options: dict[str, Any] = {"n": 3, "sampling": SHORT, "judge": judge_by_length, "quota": 50}
    questions = make_questions(13)
    whole = sample_responses(model, questions, out=tmp_path / "whole", **options)
    commit = RowStore.commit

    def crash(store: RowStore, rows: list[dict[str, Any]]) -> None:
        if store.done == crash_at:
            raise KeyboardInterrupt
        commit(store, rows)

    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "commit", crash)
        with pytest.raises(KeyboardInterrupt):
            sample_responses(model, questions, out=tmp_path / "cut", **options)
    with open(tmp_path / "cut" / "rows.jsonl", "ab") as file:
        file.write(tail)
    assert sample_responses(model, questions, out=tmp_path / "cut", **options) == whole
    assert read_folder(tmp_path / "cut") == read_folder(tmp_path / "whole")
    assert load_responses(tmp_path / "cut") == whole


class Interrupted(LocalEngine):
    """An engine on which somebody presses Ctrl-C after so many answers."""

    def __init__(self, model: LanguageModel, after: int) -> None:
        super().__init__(model, max_rows=4)
        self.left = after

    def prepare(self, *given: Any) -> Any:
        inner, engine = super().prepare(*given), self

        class Answering:
            def draw(self, asks: Any, on_reply: Any) -> None:
                def count(ask: Ask, reply: Reply) -> Any:
                    if not engine.left:
                        raise KeyboardInterrupt
                    engine.left -= 1
                    return on_reply(ask, reply)

                inner.draw(asks, count)

        return Answering()


@pytest.mark.parametrize("after", [0, 1, 5, 12, 23])
def test_ctrl_c_inside_a_chunk_keeps_every_answer_that_was_finished(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(LocalEngine, "chunk", 128)
    options: dict[str, Any] = {"n": 3, "sampling": SHORT, "judge": judge_by_length, "rounds": (2, 1)}
    questions, out = make_questions(13), tmp_path / "cut"
    whole = sample_responses(Interrupted(model, 1000), questions, **options)
    with pytest.raises(KeyboardInterrupt):
        sample_responses(Interrupted(model, after), questions, out=out, **options)
    with pytest.raises(KeyboardInterrupt):  # once more, before anything is added
        sample_responses(Interrupted(model, 0), questions, out=out, **options)
    left = len(whole.responses) - after
    with pytest.raises(KeyboardInterrupt):
        sample_responses(Interrupted(model, left - 1), questions, out=out, **options)
    found = sample_responses(Interrupted(model, 1), questions, out=out, **options)
    assert [(r.id, r.token_ids) for r in found.responses] == [(r.id, r.token_ids) for r in whole.responses]
    assert load_responses(out) == found and not (out / PENDING).exists()


def test_answers_put_aside_are_not_used_for_other_settings_or_when_damaged(
    model: LanguageModel, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"n": 2, "sampling": SHORT}
    questions = make_questions(3)
    for change in ("damage", "other rows", "settings"):
        out = tmp_path / change
        with pytest.raises(KeyboardInterrupt):
            sample_responses(Interrupted(model, 4), questions, out=out, **options)
        assert len(json.loads((out / PENDING).read_text())["rows"]) == 4
        if change == "damage":
            (out / PENDING).write_text((out / PENDING).read_text().replace('"sample": 1', '"sample": 0'))
        elif change == "other rows":
            row = read_checked(out / PENDING)
            row["rows"][0]["finish_reason"] = []
            write_checked(out / PENDING, row)
        else:
            options = {"n": 2, "sampling": Sampling(max_new_tokens=4, seed=1)}
        with pytest.raises(KeyboardInterrupt):  # all six are drawn
            sample_responses(Interrupted(model, 5), questions, out=out, **options)


def test_progress_moves_question_by_question_inside_a_chunk(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalEngine, "chunk", 128)
    moved: list[int] = []

    @contextmanager
    def watch(description: str, total: int, *, done: int = 0) -> Iterator[Any]:
        yield lambda n=1, note="": moved.append(n)

    monkeypatch.setattr(responses_module, "progress", watch)
    sample_responses(model, make_questions(13), n=3, sampling=SHORT, judge=judge_by_length)
    assert [n for n in moved if n] == [1] * 13


def test_the_quota_is_counted_on_after_a_resume(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses_module, "LEAD", 1)
    options: dict[str, Any] = {"n": 2, "sampling": SHORT, "quota": 3}

    def judge(question: Question, text: str) -> Said:
        return Said("correct" if int(question.id[1:]) % 3 == 0 else "incorrect")

    questions = make_questions(30)
    sample_responses(model, questions, judge=judge, out=tmp_path / "whole", **options)
    commit = RowStore.commit

    def crash(store: RowStore, rows: list[dict[str, Any]]) -> None:
        commit(store, rows)
        if store.done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "commit", crash)
        with pytest.raises(KeyboardInterrupt):
            sample_responses(model, questions, judge=judge, out=tmp_path / "cut", **options)
    sample_responses(model, questions, judge=judge, out=tmp_path / "cut", **options)
    assert read_folder(tmp_path / "cut") == read_folder(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"n": 4}, "n was 3, now 4"),
        ({"sampling": Sampling(max_new_tokens=4, seed=1)}, "sampling was"),
        ({"style": PromptStyle(shots=(("a", "b"),))}, "style was"),
        ({"quota": 9}, "quota was null, now 9"),
        ({"judge": judge_by_length}, "judge was null"),
        ({"judge_version": 2}, "judge_version was null, now 2"),
    ],
)
def test_other_settings_are_refused_by_name(
    model: LanguageModel, tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    questions = make_questions(2)
    options: dict[str, Any] = {"n": 3, "sampling": SHORT, "out": tmp_path / "a"}
    sample_responses(model, questions, **options)
    with pytest.raises(ArtifactError, match=named):
        sample_responses(model, questions, **{**options, **changed})


def test_other_questions_and_another_model_are_refused_by_name(model: LanguageModel, tmp_path: Path) -> None:
    options: dict[str, Any] = {"n": 1, "sampling": SHORT, "out": tmp_path / "a"}
    sample_responses(model, make_questions(2), **options)
    with pytest.raises(ArtifactError, match="input questions was"):
        sample_responses(model, make_questions(2)[::-1], **options)
    with pytest.raises(ArtifactError, match="model was"):
        sample_responses(tiny_model("llama", seed=1), make_questions(2), **options)


def test_unusable_arguments_are_one_sentence(model: LanguageModel) -> None:
    with pytest.raises(NotEnoughDataError, match="no questions"):
        sample_responses(model, [])
    for agreement, n in ((5, 10), (11, 10), (1, 2)):
        with pytest.raises(InputError, match="min-agreement"):
            sample_responses(model, make_questions(1), n=n, min_agreement=agreement)
    with pytest.raises(InputError, match="at least one"):
        sample_responses(model, make_questions(1), n=0)


def test_a_prompt_longer_than_the_window_is_one_sentence() -> None:
    small = tiny_model("gpt2")
    small.model.config.max_position_embeddings = small.model.config.n_positions = 64
    question = Question("long", "What is " + "very " * 60 + "long?")
    with pytest.raises(PromptTooLongError, match="window of tiny-gpt2 holds 64"):
        sample_responses(small, [question], n=1, sampling=SHORT)


def test_classes_follow_verdicts_and_an_invented_thing_is_rightly_unknown() -> None:
    real, invented = Question("a", "?"), Question("b", "?", answerable=False)
    assert [is_hallucination(real, v) for v in ("correct", "incorrect", "abstained", "unscored")] == [
        False,
        True,
        None,
        None,
    ]
    assert [is_hallucination(invented, v) for v in ("correct", "incorrect", "abstained", "unscored")] == [
        False,
        True,
        False,
        None,
    ]


def test_a_base_models_answer_ends_at_the_line_break_and_a_chat_models_does_not() -> None:
    model = tiny_model("llama")
    ids = model.tokenizer(" Paris\nLondon", add_special_tokens=False)["input_ids"]
    base, chat = model.stops(PromptStyle(chat=False)), model.stop_ids
    assert decode_answer(model, [*ids, 1], base) == "Paris"
    assert decode_answer(model, [*ids, 1], chat) == "Paris\nLondon"
    assert decode_answer(model, [], chat) == ""


def test_rows_on_disk_are_json_with_text_as_it_is(model: LanguageModel, tmp_path: Path) -> None:
    found = sample_responses(model, make_questions(2), n=2, sampling=SHORT, out=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [Response.from_row(row) for row in rows] == found.responses


def test_another_rule_on_recorded_replies_asks_what_it_would_have_asked_of_the_model(
    model: LanguageModel, tmp_path: Path
) -> None:
    questions = make_questions(9)
    options: dict[str, Any] = {"n": 5, "sampling": SHORT}
    everything = sample_responses(model, questions, out=tmp_path / "all", **options)
    settings = json.loads((tmp_path / "all" / "manifest.json").read_text())["settings"]
    recorded: Engine = RecordedEngine(everything.responses, settings)
    rule = {"judge": judge_by_length, "quota": 3}
    assert sample_responses(recorded, questions, **options, **rule) == sample_responses(
        model, questions, **options, **rule
    )
    assert sample_responses(recorded, questions, **options).responses == everything.responses
    with pytest.raises(InputError, match="holds no sample 5 of question q8"):
        sample_responses(recorded, questions, n=6, sampling=SHORT)


def test_any_object_that_follows_the_protocol_answers_and_the_rules_are_the_same() -> None:
    class Parrot:
        """Says the question's id and the number of the sample; of every second question always the same."""

        chunk, counts_tokens, name = 4, False, "parrot"

        def settings(self, sampling: Sampling) -> dict[str, Any]:
            return {"model": "parrot", "sampling": sampling.to_row()}

        def prepare(self, questions: Sequence[Question], style: PromptStyle, sampling: Sampling) -> "Parrot":
            return self

        def draw(self, asks: Any, on_reply: Any) -> None:
            waiting = list(asks)
            while waiting:
                ask: Ask = waiting.pop(0)
                changing = int(ask.question.id[1:]) % 2
                waiting += on_reply(ask, Reply(f"{ask.question.id} {ask.sample * changing}"))

    questions = make_questions(6)
    engine: Engine = Parrot()
    found = sample_responses(engine, questions, n=4)
    assert [r.id for r in found.responses] == [f"q{i}#{s}" for i in range(6) for s in range(4)]
    assert found.summary["identical"] == 3 and "tokens" not in found.summary

    def judge(question: Question, text: str) -> Said:
        return Said("correct" if text.endswith("0") else "incorrect")

    judged = group_by_question(sample_responses(engine, questions, n=4, judge=judge, rounds=(2, 2)).responses)
    assert {q: len(drawn) for q, drawn in judged.items()} == {f"q{i}": 2 if i % 2 else 4 for i in range(6)}


def test_extra_samples_are_drawn_for_every_question_asked_and_decide_nothing(model: LanguageModel) -> None:
    questions = make_questions(12)
    plain = sample_responses(model, questions, n=1, sampling=SHORT, judge=judge_by_length, quota=2)
    found = sample_responses(model, questions, n=1, sampling=SHORT, judge=judge_by_length, quota=2, extra=3)
    assert [r for r in found.responses if r.sample == 0] == plain.responses
    drawn = group_by_question(found.responses).values()
    assert all([r.sample for r in responses] == [0, 1, 2, 3] for responses in drawn)
