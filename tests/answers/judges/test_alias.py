"""The alias judge on a table of hard cases, on properties, and against recorded judgements of a real model."""

import gzip
import json
import time
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hneurons.answers.judges.alias import judge_alias
from hneurons.answers.judges.gold import is_none
from hneurons.answers.judges.normalize import tokenize
from hneurons.core.types import Question
from support.places import SHARED

CAPITAL = Question("q", "What is the capital of France?", ("Paris", "City of Paris"))
USA = Question("q", "Which country won the most medals?", ("United States", "US", "U.S.A.", "America"))
MEN = Question("q", "How many men were there?", ("1,000",))
DOZEN = Question("q", "How many months are in a year?", ("twelve",))
INVENTED = Question("q", "What does the animal zorblax eat?", answerable=False)


def asks(*answers: str, text: str = "Who or what is it that one is asked for here?") -> Question:
    return Question("q", text, answers)


HAWAII = asks("Hawaii", "Aloha State", text="Which state is called the Aloha State?")
MOZART = asks("Mozart", text="Who was born first, Mozart or Beethoven?")
MOONLESS = asks("Mercury", text="Which planet does not have moons?")

DOLPHIN = asks("mammal", text="Is the dolphin a mammal, a bird, a reptile, a fish or an insect?")
FLAT, ROUND = asks("no", text="Is the earth flat?"), asks("yes", text="Is the earth round?")

HARD_CASES = [
    # whole words, spelling
    (CAPITAL, "Paris", "correct"),
    (CAPITAL, "paris.", "correct"),
    (CAPITAL, "The capital of France is Paris.", "correct"),
    (CAPITAL, "Paris's suburbs and Paris itself", "correct"),
    (CAPITAL, "“Paris”", "correct"),
    (CAPITAL, "**Paris**", "correct"),
    (CAPITAL, "The city of Paris, in the north of the country", "correct"),
    (CAPITAL, "Parisian suburbs", "unscored"),
    (CAPITAL, "London", "incorrect"),
    (USA, "They are shown in the museum", "incorrect"),
    (USA, "Let us say Canada", "unscored"),
    (USA, "the US", "correct"),
    (USA, "The U.S. of course", "correct"),
    (USA, "US", "correct"),
    (USA, "us", "correct"),
    (asks("Beyoncé"), "beyonce knowles", "correct"),
    (asks("Malmo"), "Malmö", "correct"),
    (asks("Søren Kierkegaard"), "Soren Kierkegaard", "correct"),
    (asks("Straße"), "STRASSE", "correct"),
    (asks("Spider-Man"), "Spiderman", "correct"),
    (asks("Spiderman"), "It was Spider-Man.", "correct"),
    (asks("Bachelor's degree"), "a Bachelor’s degree", "correct"),
    (asks("bachelors degree"), "Bachelor's Degree", "correct"),
    (asks("lord rockingham s xi"), "Lord Rockingham's XI", "correct"),
    (asks("O'Brien"), "Mr. O’Brien", "correct"),
    (asks("Teflon"), "Teflon™", "correct"),
    (asks("J. K. Rowling"), "JK Rowling", "correct"),
    (asks("Married... with Children"), "Married...with Children", "correct"),
    (asks("Romeo and Juliet"), "Romeo & Juliet", "correct"),
    (asks("Simon and Garfunkel"), "Simon and Garfunkel", "correct"),
    (asks("The Lord of the Rings"), "lord of the rings", "correct"),
    (asks("ﬁnland"), "Finland", "correct"),
    # numbers
    (MEN, "1000", "correct"),
    (MEN, "1,000 men", "correct"),
    (MEN, "one thousand", "correct"),
    (MEN, "a thousand", "correct"),
    (MEN, "10000", "incorrect"),
    (MEN, "11,000", "incorrect"),
    (DOZEN, "12", "correct"),
    (DOZEN, "There are 12 months", "correct"),
    (DOZEN, "in 1912", "incorrect"),
    (DOZEN, "12.5", "unscored"),
    (DOZEN, "a dozen", "correct"),
    (DOZEN, "12 April", "unscored"),
    (DOZEN, "one hundred and twelve", "incorrect"),
    (asks("24"), "twenty-four hours", "correct"),
    (asks("1984"), "Nineteen Eighty-Four", "correct"),
    (asks("World War II"), "World War Two", "correct"),
    (asks("5 million"), "5,000,000 people", "correct"),
    (asks("21st"), "the twenty-first", "correct"),
    (asks("-40"), "40", "incorrect"),
    (asks("50%"), "50 percent", "correct"),
    (asks("1"), "One of them is London", "unscored"),
    (asks("1"), "one", "correct"),
    # negation and comparison
    (CAPITAL, "not Paris", "unscored"),
    (CAPITAL, "It isn't Paris.", "unscored"),
    (CAPITAL, "It isn’t Paris.", "unscored"),
    (CAPITAL, "I don't think it is Paris", "unscored"),
    (CAPITAL, "Paris is not the capital", "unscored"),
    (CAPITAL, "London rather than Paris", "unscored"),
    (CAPITAL, "London is larger than Paris", "unscored"),
    (CAPITAL, "Not London but Paris", "correct"),
    (CAPITAL, "It's not London, it's Paris.", "correct"),
    (CAPITAL, "Paris, not London", "correct"),
    (CAPITAL, "There is no doubt that it is Paris", "correct"),
    (CAPITAL, "No, it is Paris.", "correct"),
    (asks("1969"), "It was not until 1969 that they landed", "correct"),
    (MOONLESS, "The planet that does not have moons is Mercury", "correct"),
    (asks("Chanel No. 5"), "Chanel No. 5", "correct"),
    # other names
    (asks("Mexico"), "New Mexico", "unscored"),
    (asks("Virginia"), "West Virginia", "unscored"),
    (asks("Mexico"), "Mexico City", "unscored"),
    (asks("Italy"), "northern Italy", "correct"),
    (asks("Guinea"), "Guinea-Bissau", "unscored"),
    (asks("mother"), "his mother-in-law", "unscored"),
    (asks("mother"), "his step-mother", "unscored"),
    (asks("Lincoln"), "Abraham Lincoln", "unscored"),
    (asks("New York", "New York City"), "New York City", "correct"),
    # common words and single letters
    (asks("The Who"), "The singer who wrote it was Sting", "unscored"),
    (asks("The Who"), "It was sung by The Who.", "correct"),
    (asks("It"), "It is a novel by Orwell", "unscored"),
    (asks("It"), "It", "correct"),
    (asks("Vitamin A", "A"), "A nice fruit", "unscored"),
    (asks("C"), "Vitamin C", "correct"),
    (asks("Indiana", "IN"), "in Ohio", "unscored"),
    # several candidates
    (CAPITAL, "Paris or London", "unscored"),
    (CAPITAL, "London or Paris", "unscored"),
    (CAPITAL, "Either Lyon or Paris", "unscored"),
    (CAPITAL, "Paris/London", "unscored"),
    (CAPITAL, "London or Berlin", "incorrect"),
    (CAPITAL, "Rome, Paris, London, and Berlin", "unscored"),
    (CAPITAL, "Paris or the City of Paris", "correct"),
    (CAPITAL, "Paris, Ile-de-France, France", "correct"),
    (asks("Trick or Treat"), "Trick or treat", "correct"),
    (DOLPHIN, "a mammal", "correct"),
    (DOLPHIN, "a bird, a mammal", "unscored"),
    (DOLPHIN, "Bird, reptile, mammal", "unscored"),
    (DOLPHIN, "The dolphin is a mammal and a fish.", "unscored"),
    (DOLPHIN, "a bird, a fish", "unscored"),
    (DOLPHIN, "A mammal, not a fish", "correct"),
    (DOLPHIN, "A mammal, a warm-blooded animal", "correct"),
    (DOLPHIN, "Mammal, marine mammal", "correct"),
    (MOZART, "Mozart and Beethoven", "unscored"),
    (MOZART, "Mozart, born first", "correct"),
    (MOZART, "Mozart, then Beethoven", "correct"),
    (FLAT, "No", "correct"),
    (FLAT, "Yes and no", "unscored"),
    (FLAT, "No and yes", "unscored"),
    (ROUND, "Yes and no", "unscored"),
    (ROUND, "Yes, no doubt", "correct"),
    (asks("Karl Marx"), "Karl Marx and Friedrich Engels", "correct"),
    (asks("photographer"), "Painter and photographer", "correct"),
    (asks("AC/DC"), "AC/DC", "correct"),
    # bare first answer
    (CAPITAL, "London. Paris is in the north of France.", "incorrect"),
    (CAPITAL, "The answer is London. Paris is in the north.", "incorrect"),
    (CAPITAL, "Sure! The capital is Paris.", "correct"),
    (CAPITAL, "London\nParis", "incorrect"),
    # restating the question
    (HAWAII, "The Aloha State is California", "unscored"),
    (HAWAII, "Aloha State", "unscored"),
    (HAWAII, "The Aloha State is Hawaii", "correct"),
    (MOZART, "Mozart", "correct"),
    (MOZART, "Mozart was older", "correct"),
    (MOZART, "Mozart or Beethoven", "unscored"),
    (asks("0", text="What is 0 plus 0?"), "It is 0.", "correct"),
    # abstention
    (CAPITAL, "I don't know.", "abstained"),
    (CAPITAL, "I don’t know", "abstained"),
    (CAPITAL, "I'm not sure.", "abstained"),
    (CAPITAL, "Not sure", "abstained"),
    (CAPITAL, "I am not certain whether it is Paris", "abstained"),
    (CAPITAL, "I don't know if it is Paris or London", "abstained"),
    (CAPITAL, "I couldn't find any information about Paris", "abstained"),
    (CAPITAL, "I'm sorry, but I cannot answer that question.", "abstained"),
    (CAPITAL, "There is no information available.", "abstained"),
    (CAPITAL, "The records I was given do not say which city it is.", "abstained"),
    (CAPITAL, "There is no readily available record of it.", "abstained"),
    (CAPITAL, "That is not definitively known.", "abstained"),
    (CAPITAL, "Unknown", "abstained"),
    (CAPITAL, "Could you please clarify the question?", "abstained"),
    (CAPITAL, "There is no such country.", "abstained"),
    (CAPITAL, "I'm not sure, but I think it's Paris.", "correct"),
    (CAPITAL, "I'm not sure, but I think it's London.", "incorrect"),
    (CAPITAL, "I'm not sure, but I can help you find out.", "abstained"),
    (CAPITAL, "London. I'm not sure.", "incorrect"),
    (asks("tomb of the unknown soldier"), "the Tomb of the Unknown Warrior", "unscored"),
    # something invented
    (INVENTED, "There is no such animal.", "abstained"),
    (INVENTED, "The zorblax does not exist.", "abstained"),
    (INVENTED, "The zorblax is a fictional creature.", "abstained"),
    (INVENTED, "I'm not familiar with an animal called zorblax.", "abstained"),
    (INVENTED, "I'm not familiar with it, but it likely eats grass.", "incorrect"),
    (INVENTED, "Zorblaxes eat grass and small insects.", "incorrect"),
    (INVENTED, "Grass", "incorrect"),
    # scripts without spaces
    (asks("東京"), "答えは東京です。", "correct"),
    (asks("東京"), "大阪です", "unscored"),
    (asks("서울"), "서울은 수도이다", "correct"),
    # nothing to judge
    (MOZART, "Who was born first?", "unscored"),
    (CAPITAL, "", "unscored"),
    (CAPITAL, "...", "unscored"),
    (asks(), "Paris", "unscored"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("question", "reply", "verdict"), HARD_CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_hard_case_gets_its_verdict(question, reply, verdict):
    judged = judge_alias(question, reply)
    assert judged.verdict == verdict, judged.reason


def test_the_reason_names_the_alias_as_the_question_spells_it():
    assert judge_alias(MEN, "about 1000").reason == "1,000"


@pytest.mark.slow
@given(st.text(max_size=80), st.lists(st.text(max_size=20), max_size=4))
def test_no_text_and_no_alias_can_break_the_judge(reply, answers):
    assert judge_alias(Question("q", "Who?", tuple(answers)), reply).verdict in (
        "correct",
        "incorrect",
        "abstained",
        "unscored",
    )


@given(st.text(alphabet=st.characters(categories=["Lu", "Ll", "Nd"]), min_size=2, max_size=20))
def test_an_alias_by_itself_is_always_correct(answer):
    if not tokenize(answer) or is_none(answer):
        return
    assert judge_alias(Question("q", "?", (answer,)), answer).verdict == "correct"


@given(st.integers(0, 10**9))
def test_a_number_is_the_same_with_and_without_separators(number):
    question = Question("q", "How many?", (f"{number:,}",))
    assert judge_alias(question, f"There were {number} of them").verdict == "correct"
    assert judge_alias(question, f"There were 7{number} of them").verdict != "correct"


@pytest.mark.slow
def test_a_reply_takes_less_than_a_millisecond_on_average():
    question = Question("q", "Who was the first president?", tuple(f"George Washington {n}" for n in range(100)))
    replies = ["George Washington 7", "The first president was John Adams.", "I don't know who it was."]
    start = time.process_time()
    for n in range(1_500):
        judge_alias(question, replies[n % 3])
    assert time.process_time() - start < 1.5


@pytest.mark.shared
def test_it_agrees_with_recorded_judgements_of_a_real_model():
    """The recorded judge is a substring match: "40" counts for "4". Ours agrees on 98% and is stricter.

    Every third of its 3,500 questions.
    """
    path = SHARED / "data" / "hneurons_example_gemma3_4b_consistency_samples.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    agreed = total = decided = 0
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in islice(file, 0, None, 3):
            ((qid, row),) = json.loads(line).items()
            text = row["question"].removesuffix(" Respond with the answer only, without any explanation.")
            question = Question(qid, text, tuple(row["ground_truth"]))
            verdicts = {reply: judge_alias(question, reply).verdict for reply in set(row["responses"])}
            for reply, recorded in zip(row["responses"], row["judges"], strict=True):
                verdict = verdicts[reply]
                decided += verdict in ("correct", "incorrect")
                agreed += (verdict, recorded) in (("correct", "true"), ("incorrect", "false"))
                total += 1
    assert total == 11_670
    assert decided / total > 0.9
    assert agreed / decided > 0.98


@pytest.mark.shared
def test_what_an_independent_grader_calls_wrong_is_not_called_right():
    """A language model graded these SimpleQA answers against one gold string; ours misses paraphrases, not errors."""
    grades, golds = SHARED / "replay" / "simpleqa" / "grades.jsonl.gz", SHARED / "data" / "simpleqa_verified.jsonl"
    if not (grades.exists() and golds.exists()):
        pytest.skip(f"{grades} or {golds} is missing")
    questions = {}
    for line in golds.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        key = f"simpleqa_{row['original_index']}"
        questions[key] = Question(key, row["problem"], (row["answer"],))
    counts = Counter()
    with gzip.open(grades, "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            if row["id"] in questions:
                counts[row["grade"], judge_alias(questions[row["id"]], row["response"]).verdict] += 1
    wrong = sum(n for (grade, _), n in counts.items() if grade == "INCORRECT")
    assert wrong > 2000
    assert counts["INCORRECT", "correct"] + counts["NOT_ATTEMPTED", "correct"] <= 0.005 * wrong
    assert counts["INCORRECT", "incorrect"] > 0.8 * wrong
    assert counts["CORRECT", "correct"] > counts["CORRECT", "incorrect"]
