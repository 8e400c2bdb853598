"""What known answers mean: none, lists stored as text, other forms; dates, numbers and names written otherwise."""

import pytest

from hneurons.answers.judges.alias import judge_alias
from hneurons.answers.judges.dates import compare_dates, read_dates
from hneurons.answers.judges.gold import forms, is_none, unpack
from hneurons.answers.judges.normalize import tokenize
from hneurons.answers.judges.numbers import is_rounded
from hneurons.core.types import Question

RIGHT = [
    ("Keeley Clare Julia Hawes", "Keeley Hawes"), ("Bush, George", "It was George Bush."),
    ("(Jacques) CARTIER", "Cartier"), ("James Prochaska", "It was James O. Prochaska."),
    ("Johannes Gutenberg", "Johann Gutenberg"), ("Sir Elton John", "Elton John"),
    ('Ethel "Edy" Proctor', "Edy Proctor"), ("Swan (disambiguation)", "the Swan"), ("PIGEONS or DOVES", "doves"),
    ("April 12, 1979", "12 April 1979"), ("April 12, 1979", "on the 12th of April, 1979"),
    ("April 1979", "April 12, 1979"), ("1990s", "1994"), ("two thousand", "2,000"),
    ("$2.187 billion", "$2.2 billion"), ("about 1500 BC", "1500 BC"),
    ("France, Germany and Belgium", "Belgium, France and Germany"), ("1 and 0", "0 and 1"),
    ("Peter Gardner[4] Ostrum", "Peter Ostrum"),
]  # fmt: skip
NOT_RIGHT = [
    ("April 12, 1979", "April 13, 1979"), ("April 1979", "May 1979"), ("1979", "1978"), ("twelve", "12.5"),
    ("1", "the first"), ("France, Germany and Belgium", "France, Germany and Spain"),
    ("George Bush", "George Harrison"), ("40 million", "40 billion"), ("James Prochaska", "James Brown"),
    ("10", "100"), ("1990s", "1984"),
]  # fmt: skip


@pytest.mark.parametrize(("known", "reply"), RIGHT)
def test_a_known_answer_in_another_form_is_never_called_wrong(known, reply):
    found = judge_alias(Question("q", "Who or what was it?", (known,)), reply)
    assert found.verdict != "incorrect", found


def test_most_known_answers_in_another_form_are_called_right():
    verdicts = [judge_alias(Question("q", "Who or what was it?", (known,)), reply).verdict for known, reply in RIGHT]
    assert verdicts.count("correct") >= 0.7 * len(verdicts), dict(zip(RIGHT, verdicts, strict=True))


@pytest.mark.parametrize(("known", "reply"), NOT_RIGHT)
def test_what_only_looks_like_a_known_answer_is_never_called_right(known, reply):
    assert judge_alias(Question("q", "Who or what was it?", (known,)), reply).verdict != "correct"


@pytest.mark.parametrize("mark", ["<unk>", "N/A", "n/a", "CANNOTANSWER", "[NO ANSWER]", " null ", "unanswerable"])
def test_a_mark_of_none_is_no_answer(mark):
    assert is_none(mark) and unpack([mark, "Paris"]) == ("Paris",)
    assert judge_alias(Question("q", "Who?", (mark,)), mark).verdict in ("unscored", "abstained")


@pytest.mark.parametrize("text", ["None", "No", "Nan", "NA", "Null Island", "unknown"])
def test_a_word_that_may_be_an_answer_is_one(text):
    assert unpack([text]) == (text,)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('["Paris", "Lutetia"]', ("Paris", "Lutetia")),
        ("['Paris', 'Lutetia']", ("Paris", "Lutetia")),
        ("['Paris' 'Lutetia']", ("Paris", "Lutetia")),
        ('["Paris"]', ("Paris",)),
        ("['it\\'s', \"O'Brien\"]", ("it's", "O'Brien")),
        ("[sic] Paris", ("[sic] Paris",)),
        ('["Paris', ('["Paris',)),
    ],
)
def test_a_list_stored_as_text_becomes_its_items(text, items):
    assert unpack([text]) == items
    assert judge_alias(Question("q", "Which city is it?", (text,)), items[-1]).verdict == "correct"


def test_dates_are_compared_part_by_part():
    def date(text):
        (found,) = read_dates(tokenize(text))
        return found

    assert compare_dates(date("April 12, 1979"), date("12/4/1979")) in ("same", "other")
    assert compare_dates(date("1979-04-12"), date("April 12th, 1979")) == "same"
    assert compare_dates(date("1979"), date("April 1979")) == "finer"
    assert compare_dates(date("April 1979"), date("1979")) == "coarser"
    assert compare_dates(date("16th century"), date("1546")) == "finer"
    assert compare_dates(date("1600"), date("17th century")) == "other"


def test_years_counts_and_ordinals_are_never_rounded():
    assert is_rounded(2.187e9, 2.2e9) and is_rounded(759.9625, 760)
    assert not is_rounded(1979, 1980) and not is_rounded(12, 12.5) and not is_rounded(41, 40)


def test_forms_name_the_answer_they_come_from():
    assert {form.answer for form in forms(["Bush, George"])} == {"Bush, George"}
