"""Stage select: which questions are kept, which response stands for them, what is dropped and why."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hneurons.answers.selection import load_examples, select_examples
from hneurons.core.artifacts import RowStore
from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.core.types import FinishReason, Judgement, Question, Response, Verdict

Sample = tuple[str, Verdict] | tuple[str, Verdict, FinishReason]
Given = tuple[list[Question], list[Response], list[Judgement]]


def make_input(samples: dict[str, list[Sample]], *, relation: dict[str, str] | None = None) -> Given:
    """Questions by id with their sampled (text, verdict, finish reason)."""
    questions = [Question(i, f"{i}?", ("x",), relation=(relation or {}).get(i, "")) for i in samples]
    responses, judgements = [], []
    for question, drawn in samples.items():
        for number, (text, verdict, *reason) in enumerate(drawn):
            finish: FinishReason = reason[0] if reason else "stop"
            responses.append(Response(question, number, text, (5, 6), (-1.0, -1.0), finish))
            judgements.append(Judgement(question, number, verdict))
    return questions, responses, judgements


def right(text: str = "a", n: int = 3) -> list[Sample]:
    return [(text, "correct")] * n


def wrong(text: str = "b", n: int = 3) -> list[Sample]:
    return [(text, "incorrect")] * n


def test_questions_answered_alike_are_kept_and_the_others_counted_with_the_reason() -> None:
    given = make_input(
        {
            "right": right(),
            "wrong": wrong(),
            "mixed": [*right(n=2), *wrong(n=1)],
            "few": right(n=2),
            "given up": [("a", "correct"), ("", "unscored")],
            "silent": [*wrong(n=2), ("", "abstained")],
            "unclear": [*wrong(n=2), ("", "unscored")],
            "cut": [("b", "incorrect", "length")] * 3,
            "never": [],
            "spare": wrong(),
        }
    )
    found = select_examples(*given, n=3)
    assert len(found.examples) == 2
    assert {e.hallucinated for e in found.examples} == {False, True}
    assert found.summary["consistent"] == {"right": 1, "wrong": 2}
    assert found.summary["selected"] == {"right": 1, "wrong": 1}
    assert found.summary["dropped"] == {
        "abstained": 1,
        "balancing": 1,
        "class full": 1,
        "inconsistent": 1,
        "not asked": 1,
        "truncated": 1,
        "unscored": 2,
    }
    assert sum(found.summary["dropped"].values()) + len(found.examples) == found.summary["questions"] == 10


def test_a_question_that_could_still_have_agreed_was_stopped_because_its_class_was_full() -> None:
    given = make_input(
        {
            "a": right(n=4),
            "b": wrong(n=4),
            "full": [*right(n=1), ("", "abstained")],
            "apart": [*right(n=1), *wrong(n=1)],
        }
    )
    assert select_examples(*given, n=4, min_agreement=3).summary["dropped"] == {"class full": 2}
    assert select_examples(*given, n=4).summary["dropped"] == {"abstained": 1, "inconsistent": 1}


def test_the_example_is_the_most_frequent_answer_and_its_first_whole_sample() -> None:
    given = make_input(
        {
            "q": [
                ("Rome.", "incorrect"),
                ("oslo", "incorrect", "length"),
                ("Oslo!", "incorrect"),
                (" OSLO", "incorrect"),
                ("x", "correct"),
            ],
            "r": right(n=5),
        }
    )
    chosen = {e.question.id: e.response for e in select_examples(*given, n=5, min_agreement=4).examples}
    assert (chosen["q"].sample, chosen["q"].text) == (2, "Oslo!")
    assert chosen["r"].sample == 0
    with pytest.raises(NotEnoughDataError, match="1 were answered right in at least 5 of 5 samples and 0 wrong"):
        select_examples(*given, n=5)


def test_a_consistent_answer_of_which_every_sample_is_cut_is_left_out() -> None:
    given = make_input({"a": [("b", "incorrect", "length")] * 2 + wrong(n=1), "b": right(), "c": right()})
    found = select_examples(*given, n=3)
    assert {e.id for e in found.examples if e.hallucinated} == {"a#2"}


def test_only_the_first_n_samples_count_and_one_sample_is_the_first_as_it_came() -> None:
    given = make_input({"a": [*wrong(n=1), *right(n=4)], "b": [*right(n=1), *wrong(n=4)]})
    found = select_examples(*given, n=1, split="test")
    assert [(e.id, e.hallucinated, e.split) for e in found.examples] == [("a#0", True, "test"), ("b#0", False, "test")]


counts = st.dictionaries(st.sampled_from("pqrs"), st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1)


@settings(max_examples=60, deadline=None)
@given(counts=counts, per_class=st.none() | st.integers(1, 8), seed=st.integers(0, 3))
def test_classes_are_balanced_within_every_relation_and_capped(
    counts: dict[str, tuple[int, int]], per_class: int | None, seed: int
) -> None:
    samples: dict[str, list[Sample]] = {}
    relation = {}
    for name, sizes in counts.items():
        for kind, size in zip(("right", "wrong"), sizes, strict=True):
            for i in range(size):
                samples[f"{name}-{kind}-{i}"] = right() if kind == "right" else wrong()
                relation[f"{name}-{kind}-{i}"] = name
    pairs = sum(map(min, counts.values()))
    given = make_input(samples, relation=relation)
    if not pairs:
        with pytest.raises(NotEnoughDataError, match="no relation that has both"):
            select_examples(*given, n=3)
        return
    found = select_examples(*given, n=3, per_class=per_class, seed=seed)
    by_class = Counter((e.question.relation, e.hallucinated) for e in found.examples)
    assert all(by_class[name, False] == by_class[name, True] for name in counts)
    assert len(found.examples) == 2 * min(pairs, per_class or pairs)
    order = [q.id for q in given[0]]
    places = [order.index(e.question.id) for e in found.examples]
    assert places == sorted(places)


def test_which_examples_balance_depends_on_the_seed_and_not_on_the_order() -> None:
    samples = {f"r{i}": right() for i in range(40)} | {f"w{i}": wrong() for i in range(10)}
    questions, responses, judgements = make_input(samples)
    first = {e.id for e in select_examples(questions, responses, judgements, n=3).examples}
    backwards = {e.id for e in select_examples(questions[::-1], responses, judgements, n=3).examples}
    other = {e.id for e in select_examples(questions, responses, judgements, n=3, seed=1).examples}
    assert first == backwards != other


def test_a_test_set_of_one_class_is_kept_in_question_order_and_a_training_set_refused() -> None:
    given = make_input({f"q{i}": wrong() for i in range(20)})
    found = select_examples(*given, n=1, split="test", per_class=12)
    assert len(found.examples) == 12 and all(e.hallucinated for e in found.examples)
    places = [int(e.question.id[1:]) for e in found.examples]
    assert places == sorted(places)
    with pytest.raises(NotEnoughDataError, match="0 were answered right in a single sample and 20 wrong"):
        select_examples(*given, n=1)


def test_no_right_answers_at_all_says_what_to_do() -> None:
    with pytest.raises(NotEnoughDataError, match="ask more or easier questions, add shots"):
        select_examples(*make_input({"a": wrong(), "b": wrong()}), n=3)


def test_invented_against_real_a_confident_answer_about_a_real_thing_is_the_other_class() -> None:
    questions = [
        *(Question(f"i{i}", "?", answerable=False, relation="animal") for i in range(3)),
        *(Question(f"r{i}", "?", relation="animal") for i in range(3)),
    ]
    said: dict[str, tuple[str, Verdict]] = {
        "i0": ("a red one", "incorrect"),
        "i1": ("I do not know it", "abstained"),
        "i2": ("", "unscored"),
        "r0": ("a fish", "unscored"),
        "r1": ("", "unscored"),
        "r2": ("no idea", "abstained"),
    }
    responses = [Response(i, 0, text) for i, (text, _) in said.items()]
    judgements = [Judgement(i, 0, verdict) for i, (_, verdict) in said.items()]
    found = select_examples(questions, responses, judgements, n=1, split="test")
    assert found.summary["consistent"] == {"right": 2, "wrong": 1}  # i1 and r0 against i0
    assert found.summary["contrast"] == "invented against real"
    assert found.summary["dropped"] == {"unscored": 2, "abstained": 1, "balancing": 1}
    real_only = select_examples(questions[3:], responses[3:], judgements[3:], n=1, split="test")
    assert not real_only.examples and real_only.summary["dropped"] == {"unscored": 2, "abstained": 1}


def test_a_response_without_verdict_is_refused() -> None:
    questions, responses, judgements = make_input({"a": right(), "b": wrong()})
    with pytest.raises(InputError, match="1 responses have no verdict \\(first: b#2\\)"):
        select_examples(questions, responses, judgements[:-1], n=3)


def test_a_selection_killed_after_its_rows_were_written_does_not_write_them_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = make_input({"a": right(), "b": wrong()})
    whole = select_examples(*given, n=3, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "finish", lambda store, summary: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            select_examples(*given, n=3, out=tmp_path / "cut")
    assert select_examples(*given, n=3, out=tmp_path / "cut") == whole
    for name in ("rows.jsonl", "manifest.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_folder_gives_the_same_examples_and_refuses_other_verdicts(tmp_path: Path) -> None:
    questions, responses, judgements = make_input({"a": right("é"), "b": wrong()})
    found = select_examples(questions, responses, judgements, n=3, out=tmp_path / "a")
    assert load_examples(tmp_path / "a") == found
    assert select_examples(questions, responses, judgements, n=3, out=tmp_path / "a") == found
    changed = [*judgements[:-1], Judgement("b", 2, "correct")]
    with pytest.raises(ArtifactError, match="input verdicts was"):
        select_examples(questions, responses, changed, n=3, out=tmp_path / "a")
