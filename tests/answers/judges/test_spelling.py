"""Spellings of one word made alike, and words that must stay apart."""

import pytest

from hneurons.answers.judges.alias import judge_alias
from hneurons.answers.judges.normalize import join, tokenize
from hneurons.core.types import Question

ALIKE = [
    ("α", "alpha"), ("Ω", "omega"), ("Ω", "omega"), ("λ", "lambda"), ("β-carotene", "beta-carotene"),
    ("TGF-β1", "TGF-beta1"), ("TGFβ", "TGF beta"), ("γ rays", "gamma rays"), ("Δ9-THC", "delta9-THC"), ("π", "Pi"),
    ("10 Ω", "10 ohm"), ("colour", "color"), ("Colours", "colors"), ("Honourable", "honorable"),
    ("neighbourhood", "neighborhood"), ("Pearl Harbour", "Pearl Harbor"), ("organisation", "organization"),
    ("realised", "realized"), ("colonisers", "colonizers"), ("analyse", "analyze"), ("theatre", "theater"),
    ("Rockefeller Centre", "Rockefeller Center"), ("kilometres", "kilometers"), ("litre", "liter"), ("fibre", "fiber"),
    ("travelling", "traveling"), ("cancelled", "canceled"), ("jeweller", "jeweler"), ("jewellery", "jewelry"),
    ("woollen", "woolen"), ("grey", "gray"), ("Grey", "Gray"), ("a grey wolf", "a gray wolf"),
    ("aluminium", "aluminum"), ("sulphuric acid", "sulfuric acid"), ("haemoglobin", "hemoglobin"),
    ("leukaemia", "leukemia"), ("anaemic", "anemic"), ("anaesthetic", "anesthetic"), ("oesophagus", "esophagus"),
    ("diarrhœa", "diarrhea"), ("archaeology", "archeology"), ("encyclopædia", "encyclopedia"), ("plough", "plow"),
    ("pyjamas", "pajamas"), ("programme", "program"), ("defence", "defense"), ("the labour market", "the labor market"),
    ("manoeuvres", "maneuvers"), ("fulfil", "fulfill"), ("whiskey", "whisky"),
]  # fmt: skip
APART = [
    ("Grey's Anatomy", "Gray's Anatomy"), ("the Labour Party", "the Labor Party"),
    ("Tyre in Lebanon", "tire in Lebanon"),
    ("Αθήνα", "Athens"), ("α", "a"), ("Ω", "O"), ("μm", "mm"), ("β", "b"), ("Σ", "E"), ("story", "storey"),
    ("prise", "prize"), ("sise", "size"), ("tonne", "ton"), ("chancellor", "chancelor"), ("four", "for"),
    ("tour", "tor"),
    ("our", "or"), ("hour", "hor"), ("acre", "acer"), ("ogre", "oger"), ("Louvre", "Louver"), ("rise", "rize"),
    ("check", "cheque"), ("alpha", "beta"), ("10 Ω", "10 omega"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_spellings_of_one_word_are_one(one: str, other: str) -> None:
    assert join(tokenize(one)) == join(tokenize(other))
    for known, reply in ((one, other), (other, one)):
        assert judge_alias(Question("q", "What is it?", (known,)), f"{reply}.").verdict == "correct"


@pytest.mark.parametrize(("one", "other"), APART)
def test_two_things_stay_two(one: str, other: str) -> None:
    assert join(tokenize(one)) != join(tokenize(other))


@pytest.mark.parametrize("word", ["otherwise", "precise", "promised", "Louise", "paradise", "exercises", "tortoise"])
def test_words_that_end_so_everywhere_are_left_alone(word: str) -> None:
    assert [token.text for token in tokenize(word)] == [word.lower()]


@pytest.mark.parametrize(
    ("known", "reply"),
    [
        ("Saint Petersburg", "St. Petersburg"), ("St Petersburg", "Saint Petersburg"), ("St.Louis", "Saint Louis"),
        ("St. John's", "Saint John's"), ("Mount Everest", "Mt. Everest"), ("Mt Everest", "Mount Everest"),
        ("Fort Worth", "Ft. Worth"), ("Mount St. Helens", "Mount Saint Helens"),
        ("Mt. St. Helens", "Mount Saint Helens"),
    ],
)  # fmt: skip
def test_saints_mounts_and_forts_are_found_in_full_and_in_short(known: str, reply: str) -> None:
    assert judge_alias(Question("q", "Which place is it?", (known,)), f"It is {reply}.").verdict == "correct"


@pytest.mark.parametrize(
    ("known", "reply"), [("Wall St.", "Wall Saint"), ("St. Louis", "Street Louis"), ("Saint Paul", "Mount Paul")]
)
def test_a_street_is_no_saint(known: str, reply: str) -> None:
    assert judge_alias(Question("q", "Which place is it?", (known,)), f"It is {reply}.").verdict != "correct"
