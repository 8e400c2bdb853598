"""The built-in sets: facts that are true and balanced, invented things that do not exist, and few-shot examples."""

import gzip
import re
from collections import Counter

import pytest

from hneurons.answers.judges.alias import judge_alias
from hneurons.answers.questions import invented, load_questions, question_key
from hneurons.answers.questions.facts import fact_rows
from hneurons.answers.questions.few_shot import FEW_SHOT, few_shot_examples
from hneurons.answers.questions.invented import entity_kinds, invent_questions, real_names
from hneurons.core.errors import InputError
from hneurons.core.types import Example, Question, Response
from support.places import DATA


def test_facts_has_enough_questions_in_balanced_relations() -> None:
    questions = load_questions("facts")
    sizes = Counter(q.relation for q in questions)
    assert len(questions) >= 1500
    assert len(sizes) >= 12
    assert max(sizes.values()) <= 0.2 * len(questions)
    assert len({q.id for q in questions}) == len({question_key(q.text) for q in questions}) == len(questions)


def test_a_fact_asked_both_ways_is_one_group_and_every_other_question_is_its_own() -> None:
    groups: dict[str, list[Question]] = {}
    for question in load_questions("facts"):
        groups.setdefault(question.group, []).append(question)
    pairs = [group for group in groups.values() if len(group) > 1]
    assert len(pairs) == 607 and {len(group) for group in pairs} == {2}
    assert all(group[0].group == group[0].id for group in groups.values() if len(group) == 1)
    asked = {frozenset(q.text for q in pair) for pair in pairs}
    assert frozenset({"What is the capital of Japan?", "Tokyo is the capital of which country?"}) in asked
    assert frozenset({'What is the opposite of "day"?', 'What is the opposite of "night"?'}) in asked


def test_a_question_without_shared_fact_is_stored_as_before_and_one_with_it_comes_back() -> None:
    alone, shared = Question("a", "A?", ("x",)), Question("b", "B?", ("x",), fact="f")
    assert "fact" not in alone.to_row() and (alone.group, shared.group) == ("a", "f")
    for question in (alone, shared):
        assert Question.from_row(question.to_row()) == question
        example = Example(question, Response(question.id, 0, "x"), "correct")
        assert Example.from_row(example.to_row()) == example
        assert ("fact" in example.to_row()["question"]) == bool(question.fact)


def test_no_single_answer_pays_in_a_relation_of_facts() -> None:
    answers: dict[str, list[str]] = {}
    for question in load_questions("facts"):
        answers.setdefault(question.relation, []).append(question.answers[0])
    for relation, given in answers.items():
        assert Counter(given).most_common(1)[0][1] <= max(2, 0.25 * len(given)), relation


def test_every_fact_has_answers_without_repeats_that_the_judge_takes_and_the_question_does_not_give_away() -> None:
    for question in load_questions("facts"):
        keys = [question_key(answer) for answer in question.answers]
        assert keys and all(keys) and len(set(keys)) == len(keys), question
        given_away = [key for key in keys if f" {key} " in f" {question_key(question.text)} "]
        assert question.relation == "animal_class" or not given_away, question
        for answer in question.answers:
            assert judge_alias(question, f"{answer}.").verdict == "correct", (question, answer)


@pytest.mark.slow
def test_an_answer_to_one_fact_is_wrong_for_others_of_its_relation() -> None:
    by_relation: dict[str, list[Question]] = {}
    for question in load_questions("facts"):
        by_relation.setdefault(question.relation, []).append(question)
    decided = total = 0
    for relation, questions in by_relation.items():
        other = questions[0].answers[0]
        verdicts = [judge_alias(question, other).verdict for question in questions[1:] if other not in question.answers]
        assert verdicts.count("correct") <= 0.1 * len(verdicts), relation
        decided += verdicts.count("incorrect")
        total += len(verdicts)
    assert decided > 0.8 * total


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("What is the capital of Australia?", "Canberra"),
        ("Which chemical element has the symbol Au?", "gold"),
        ("What is the atomic number of oxygen?", "8"),
        ("What is the name of the currency unit used in Japan?", "yen"),
        ('What is the simple past tense of the verb "go"?', "went"),
        ('Who wrote the book "Pride and Prejudice"?', "Austen"),
        ("In which country is the city of Milan?", "Italy"),
        ("Which country is called Deutschland in German?", "Germany"),
        ("What is the capital of the US state of California?", "Sacramento"),
    ],
)
def test_facts_are_true(text: str, answer: str) -> None:
    question = next(q for q in load_questions("facts") if q.text == text)
    assert judge_alias(question, answer).verdict == "correct"


def test_each_fact_names_the_packages_it_came_from() -> None:
    assert all(row["source"] for row in fact_rows())


def test_invented_questions_are_the_same_for_a_seed_and_others_for_another() -> None:
    assert load_questions("invented", seed=4) == load_questions("invented", seed=4)
    first, second = ({q.text for q in load_questions("invented", seed=seed)} for seed in (4, 5))
    assert len(first & second) < 0.05 * len(first)


def test_the_first_invented_questions_do_not_depend_on_how_many_are_made() -> None:
    assert list(invent_questions(30, seed=2)) == list(invent_questions(90, seed=2))[:30]
    assert len(load_questions("invented", limit=1500)) == 1500


def test_invented_questions_cover_kinds_evenly_with_several_templates_and_no_gold_answers() -> None:
    questions = load_questions("invented")
    sizes = Counter(q.relation for q in questions)
    assert set(sizes) == set(entity_kinds()) and max(sizes.values()) - min(sizes.values()) <= 1
    assert all(not q.answerable and not q.answers and q.domain == q.relation for q in questions)
    for relation, kind in entity_kinds().items():
        used = {t for t in kind.templates for q in questions if q.relation == relation and fits(t, q.text)}
        assert used == set(kind.templates)


def fits(template: str, text: str) -> bool:
    before, _, after = template.partition("{}")
    return text.startswith(before) and text.endswith(after)


def invented_names(n: int, seed: int) -> list[str]:
    names = []
    for question in invent_questions(n, seed=seed):
        template = max((t for t in entity_kinds()[question.relation].templates if fits(t, question.text)), key=len)
        before, _, after = template.partition("{}")
        names.append(question.text[len(before) : len(question.text) - len(after)])
    return names


def test_no_invented_name_is_a_real_word_or_a_name_of_facts() -> None:
    names = invented_names(3000, seed=9)
    real = {
        question_key(word) for q in load_questions("facts") for text in (q.text, *q.answers) for word in text.split()
    }
    known = {question_key(name) for kind in entity_kinds().values() for name in kind.real}
    assert len({question_key(name) for name in names}) == len(names)
    assert not {question_key(name) for name in names} & (real | known | real_names())


@pytest.mark.shared
def test_no_invented_name_is_a_word_of_the_public_question_sets() -> None:
    files = [
        "triviaqa_validation.jsonl.gz",
        "triviaqa_train_part.jsonl.gz",
        "nq_open_validation.jsonl",
        "bioasq13b_factoid.jsonl",
    ]
    if not all((DATA / file).is_file() for file in files):
        pytest.skip(f"the shared evaluation data is missing at {DATA}")
    words: set[str] = set()
    for file in files:
        data = (DATA / file).read_bytes()
        text = (gzip.decompress(data) if file.endswith(".gz") else data).decode()
        words.update(re.findall("[a-z]+", text.lower()))
    found = [name for name in invented_names(3000, seed=9) if name.lower() in words]
    assert len(found) <= 3, found


def test_names_on_the_list_of_real_words_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = question_key(invented_names(1, seed=0)[0])
    listed = real_names() | {refused}
    monkeypatch.setattr(invented, "real_names", lambda: listed)
    assert question_key(invented_names(1, seed=0)[0]) != refused


def test_real_counterparts_share_kinds_and_templates_with_the_invented() -> None:
    questions = load_questions("known-entities")
    assert {q.relation for q in questions} == set(entity_kinds())
    assert all(q.answerable and not q.answers for q in questions)
    assert all(any(fits(t, q.text) for t in entity_kinds()[q.relation].templates) for q in questions)


def test_few_shot_examples_share_nothing_with_the_questions_asked() -> None:
    (first, answer), (second, _) = FEW_SHOT[:2]
    avoid = [Question("a", "Other?", ("x", answer.upper())), Question("b", second.lower(), ("y",))]
    examples = few_shot_examples(5, avoid=avoid)
    assert len(examples) == 5
    assert not {first, second} & {text for text, _ in examples}
    assert few_shot_examples(2) == FEW_SHOT[:2]


def test_facts_leaves_every_few_shot_example_free() -> None:
    assert few_shot_examples(len(FEW_SHOT), avoid=load_questions("facts")) == FEW_SHOT


def test_too_many_few_shot_examples_are_refused() -> None:
    with pytest.raises(InputError, match=r"99 few-shot examples are wanted"):
        few_shot_examples(99)


@pytest.mark.shared
def test_ten_few_shot_examples_are_free_in_every_public_set() -> None:
    specs = [
        "triviaqa:triviaqa_validation.jsonl.gz",
        "triviaqa:triviaqa_train_part.jsonl.gz",
        "nq-open:nq_open_validation.jsonl",
    ]
    paths = {spec: DATA / spec.partition(":")[2] for spec in specs}
    if not all(path.is_file() for path in paths.values()):
        pytest.skip(f"the shared evaluation data is missing at {DATA}")
    asked = [q for spec, path in paths.items() for q in load_questions(f"{spec.partition(':')[0]}:{path}")]
    assert len(few_shot_examples(10, avoid=asked)) == 10
