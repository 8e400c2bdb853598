"""Which samples mean the same: by strings, and by the three published rules on a planted table of entailments."""

import pytest

from hneurons.answers.meanings import RULES, Meanings, Relation, cluster_meanings
from hneurons.core.errors import InputError

E: Relation = "entailment"
N: Relation = "neutral"
C: Relation = "contradiction"


def test_names_in_other_forms_and_spellings_mean_the_same_and_other_names_do_not() -> None:
    texts = [
        "The Seine.",
        "seine",
        "Barack Hussein Obama",
        "Barack Obama",
        "Michelle Obama",
        "Søren",
        "sören",
        "Obama, Barack",
    ]
    assert cluster_meanings(texts) == [0, 0, 1, 1, 2, 3, 4, 1]


@pytest.mark.parametrize(
    ("there", "back", "same"),
    [
        (E, E, {"both", "no-contradiction", "either"}),
        (E, N, {"no-contradiction", "either"}),
        (E, C, {"either"}),
        (N, N, set()),
        (N, C, set()),
        (C, C, set()),
    ],
)
def test_each_rule_is_the_published_one_whichever_text_is_first(
    there: Relation, back: Relation, same: set[str]
) -> None:
    for a, b in ((there, back), (back, there)):
        table = {"q": {("Rome", "Roma"): a, ("Roma", "Rome"): b}}
        said = {rule for rule in RULES if Meanings("model", rule, table).of("q")("Rome", "Roma")}
        assert said == same


def test_a_planted_table_clusters_texts_by_the_rule_and_other_questions_by_strings() -> None:
    texts = ["Rome", "the city of Rome", "a city in Italy", "Oslo"]
    relations = {(a, b): N for a in texts for b in texts if a != b}
    relations |= {(texts[0], texts[1]): E, (texts[1], texts[0]): E}
    relations |= {(texts[0], texts[2]): E, (texts[1], texts[2]): E, (texts[2], texts[0]): N, (texts[2], texts[1]): N}
    relations |= {(other, "Oslo"): C for other in texts[:3]} | {("Oslo", other): C for other in texts[:3]}
    found = {rule: cluster_meanings(texts, Meanings("model", rule, {"q": relations}).of("q")) for rule in RULES}
    assert found == {"both": [0, 0, 1, 2], "no-contradiction": [0, 0, 0, 1], "either": [0, 0, 0, 1]}
    assert cluster_meanings(texts, Meanings("model", "both", {"q": relations}).of("other")) == [0, 1, 2, 3]


def test_spellings_of_a_judged_text_have_its_relations() -> None:
    relations = {("Rome", "Roma"): E, ("Roma", "Rome"): E}
    same = Meanings("model", "both", {"q": relations}).of("q")
    assert same("The Rome!", "roma") and same("rome", "ROME") and not same("Rome", "Oslo")


def test_a_judge_that_was_not_asked_lacks_and_strings_do_not() -> None:
    assert Meanings().lacks == "" and Meanings("model", table={}).lacks == ""
    assert Meanings("model").lacks == "'model' was not asked for meanings"
    assert Meanings("model", "both", {}, "a").identity != Meanings("model", "either", {}, "a").identity
    from hneurons.answers.meanings import check_rule

    with pytest.raises(InputError, match="unknown meaning rule 'boths', did you mean 'both'"):
        check_rule("boths")
