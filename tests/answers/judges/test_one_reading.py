"""Replies in which a known answer stands but is not what is answered: once called correct, each with its siblings."""

import pytest

from hneurons.answers.judges.alias import judge_alias
from hneurons.answers.judges.normalize import tokenize
from hneurons.answers.spans import find_answer
from hneurons.core.types import Question

AUSTRALIA = Question("q", "What is the capital of Australia?", ("Canberra",))
PRESIDENT = Question("q", "Who was the first president of the United States?", ("Washington",))
CANBERRA = [
    "The capital of Australia is Sydney, although many people think of Canberra",
    "The capital of Australia is Sydney, though many believe it is Canberra.",
    "Many say Canberra, but it is Sydney.",
    "Many people say it is Canberra, but the capital of Australia is Sydney.",
    "Most people think Canberra is the capital, but it is actually Sydney.",
    "Contrary to what is commonly believed, it is not Canberra but Sydney.",
    "Sydney, often confused with Canberra",
    "Sydney (sometimes mistaken for Canberra)",
    "1. Sydney\n2. Canberra\n3. Melbourne",
    "1) Sydney 2) Canberra 3) Melbourne",
    "- Sydney\n- Canberra",
    "It could be:\n1. Canberra\n2. Sydney",
    "Sydney or Canberra",
    "Canberra? No, Sydney.",
    "I thought of Canberra, but it is Sydney.",
]
OTHER_THINGS = [
    ("O+", "O-"), ("O+", "O−"), ("O-", "O+"), ("AB+", "AB-"), ("C#", "C++"), ("C++", "C"), ("C", "C++"), ("F#", "F"),
    ("40", "−40"), ("40", "-40"), ("40", "minus 40"), ("-40", "40"), ("−40 °C", "40 °C"), ("$5", "€5"), ("102", "10²"),
    ("कि", "की"), ("हिंदी", "हिंदू"), ("ಕಲ", "ಕಾಲ"), ("தமிழ்", "தமிழா"), ("й", "и"), ("Disney+", "Disney"), ("1.5", "15"),
]  # fmt: skip
SAME_THINGS = [
    ("O+", "O positive"), ("AB-", "AB negative"), ("-40", "minus 40"), ("−40", "-40"), ("C++", "c++"), ("40", "٤٠"),
    ("Disney+", "Disney Plus"), ("हिंदी", "हिंदी"), ("F♯", "F#"), ("مَدرسة", "مدرسة"), ("Ｐａｒｉｓ", "Paris"),
]  # fmt: skip


@pytest.mark.parametrize("reply", CANBERRA)
def test_a_known_answer_that_is_only_mentioned_is_not_correct(reply):
    assert judge_alias(AUSTRALIA, reply).verdict != "correct"


@pytest.mark.parametrize(
    "reply",
    [
        "Canberra, although many people think of Sydney",
        "Many say Sydney, but it is Canberra.",
        "The capital of Australia is Canberra, although many people think of Sydney",
    ],
)
def test_the_answer_given_beside_what_others_say_is_correct(reply):
    assert judge_alias(AUSTRALIA, reply).verdict == "correct"


@pytest.mark.parametrize("name", ["Denzel Washington", "Kerry Washington", "Dinah Washington", "Booker Washington"])
def test_a_surname_in_another_persons_name_is_not_correct(name):
    for reply in (name, f"It was {name}.", f"{name} was the first president."):
        assert judge_alias(PRESIDENT, reply).verdict != "correct"
    known = Question("q", PRESIDENT.text, ("Washington", "George Washington"))
    assert judge_alias(known, name).verdict != "correct"
    assert judge_alias(known, "It was George Washington.").verdict == "correct"


@pytest.mark.parametrize(("known", "reply"), OTHER_THINGS)
def test_normalisation_drops_nothing_that_tells_two_things_apart(known, reply):
    question = Question("q", "Which one is it that one is asked for here?", (known,))
    assert judge_alias(question, reply).verdict != "correct"
    assert judge_alias(question, known).verdict == "correct"


@pytest.mark.parametrize(("known", "reply"), SAME_THINGS)
def test_what_is_the_same_thing_written_otherwise_is_correct(known, reply):
    question = Question("q", "Which one is it that one is asked for here?", (known,))
    assert judge_alias(question, reply).verdict == "correct", [t.text for t in tokenize(reply)]


def test_text_and_span_of_a_correct_reply_agree():
    for reply in (*CANBERRA, "The capital of Australia is Canberra.", "Canberra", "It is Canberra, not Sydney."):
        span = find_answer(reply, question=AUSTRALIA.text)
        says = span is not None and "Canberra" in reply[slice(*span)]
        assert judge_alias(AUSTRALIA, reply).verdict != "correct" or says
