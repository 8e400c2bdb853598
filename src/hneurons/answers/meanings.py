"""Which samples mean the same: told from their words, or from which entails which; never from the known answers.

Known aliases would join right answers and leave wrong ones apart, which tells the label.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from hneurons.answers.judges.gold import name_forms
from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.core.errors import InputError
from hneurons.core.seeds import fingerprint
from hneurons.core.wording import did_you_mean

SameMeaning = Callable[[str, str], bool]
Relation = Literal["entailment", "neutral", "contradiction"]
Table = Mapping[str, Mapping[tuple[str, str], Relation]]
"""What the first text of a pair says about the second, by question id."""
STRINGS, MODEL = "strings", "model"
_ARTICLES = re.compile(r"^(?:the|an|a) ")


def same_strings(one: str, other: str) -> bool:
    """Whether two answers are the same string, or the same name in another of its forms.

    Case, accents, punctuation and a leading article are forgiven. Forms of a name are those without title, suffix or
    middle names, and "First Last" for "Last, First".
    """
    return bool(_spellings(one) & _spellings(other))


@lru_cache(maxsize=100_000)
def _spellings(text: str) -> frozenset[str]:
    answer = plain_answer(text).strip(".\"' ")
    return frozenset(plain for form in (answer, *name_forms(answer)) if (plain := _plain(form))) or frozenset({""})


def plain_answer(text: str) -> str:
    """A response without the reasoning before it."""
    return cut_reasoning(text).text.strip()


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    words = re.sub(r"\W+", " ", "".join(c for c in letters if not unicodedata.combining(c))).strip()
    return _ARTICLES.sub("", words)


def cluster_meanings(texts: Sequence[str], same: SameMeaning = same_strings) -> list[int]:
    """The meaning of each text, numbered by first appearance.

    As in semantic entropy (arXiv 2302.09664, algorithm 1), a text is compared with the first one of each meaning.
    """
    firsts: list[str] = []
    found = []
    for text in texts:
        place = next((number for number, first in enumerate(firsts) if same(first, text)), len(firsts))
        if place == len(firsts):
            firsts.append(text)
        found.append(place)
    return found


def first_texts(texts: Sequence[str]) -> list[str]:
    """The first text of every meaning that strings tell apart."""
    found: dict[int, str] = {}
    for text, meaning in zip(texts, cluster_meanings(texts), strict=True):
        found.setdefault(meaning, text)
    return list(found.values())


def _both(there: Relation, back: Relation) -> bool:
    """Each text entails the other (arXiv 2302.09664, algorithm 1; the strict rule of Nature 630, 2024)."""
    return there == back == "entailment"


def _no_contradiction(there: Relation, back: Relation) -> bool:
    """Neither text contradicts the other, and one entails the other (the looser rule of Nature 630, 2024)."""
    return "contradiction" not in (there, back) and not there == back == "neutral"


def _either(there: Relation, back: Relation) -> bool:
    """One text entails the other, whatever is said the other way."""
    return "entailment" in (there, back)


RULES: dict[str, Callable[[Relation, Relation], bool]] = {
    "both": _both, "no-contradiction": _no_contradiction, "either": _either,
}  # fmt: skip


def check_rule(rule: str) -> None:
    """Raise `InputError` for the name of a rule that is none."""
    if rule not in RULES:
        raise InputError(f"unknown meaning rule '{rule}'{did_you_mean(rule, list(RULES))}")


@dataclass(frozen=True)
class Meanings:
    """Who says which samples of a question mean the same, and by which rule.

    - `judge`: "strings", "model" for the model that wrote them, or the NLI model's name.
    - `table`: what texts say about each other, where a judge was asked; None where it was not, or not of these.
    - `content`: identifies the table.

    Texts that strings call the same mean the same by every rule.
    """

    judge: str = STRINGS
    rule: str = "both"
    table: Table | None = None
    content: str = ""

    @property
    def name(self) -> str:
        """How a page calls this: strings, or the judge and the rule."""
        return STRINGS if self.judge == STRINGS else f"{self.judge}, {self.rule}"

    @property
    def lacks(self) -> str:
        """In words, that the judge was not asked; empty where nothing is missing."""
        return "" if self.judge == STRINGS or self.table is not None else f"'{self.judge}' was not asked for meanings"

    @property
    def identity(self) -> str:
        """Identifies how samples are told apart."""
        return fingerprint([self.judge, self.rule, self.content])

    def says(self, question_id: str) -> Callable[[str, str], Relation]:
        """What one sample of this question says about another; what nobody was asked about is left open."""
        relations = (self.table or {}).get(question_id, {})
        firsts = list(dict.fromkeys(text for pair in relations for text in pair))

        def say(one: str, other: str) -> Relation:
            if same_strings(one, other):
                return "entailment"
            a, b = (next((text for text in firsts if same_strings(text, said)), said) for said in (one, other))
            return "entailment" if a == b else relations.get((a, b), "neutral")

        return say

    def of(self, question_id: str) -> SameMeaning:
        """Whether two samples of this question mean the same."""
        if self.judge == STRINGS:
            return same_strings
        rule, say = RULES[self.rule], self.says(question_id)
        return lambda one, other: rule(say(one, other), say(other, one))
