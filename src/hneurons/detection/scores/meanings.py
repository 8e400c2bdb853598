"""Which samples mean the same, told from their words alone; the known answers are never looked at.

Known aliases would join right answers and leave wrong ones apart, which tells the label.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from hneurons.answers.judges.gold import name_forms
from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.core.types import Response
from hneurons.detection.answer_rows import AnswerRows, Floats

FEWEST = 2
"""Samples besides the answer below which nothing is said about how they vary."""
SameMeaning = Callable[[str, str], bool]
_ARTICLES = re.compile(r"^(?:the|an|a) ")


def same_strings(one: str, other: str) -> bool:
    """Whether two answers are the same string, or the same name in another of its forms.

    Case, accents, punctuation and a leading article are forgiven. Forms of a name are those without title, suffix or
    middle names, and "First Last" for "Last, First".
    """
    return bool(_spellings(one) & _spellings(other))


@lru_cache(maxsize=100_000)
def _spellings(text: str) -> frozenset[str]:
    answer = cut_reasoning(text).text.strip().strip(".\"' ")
    return frozenset(plain for form in (answer, *name_forms(answer)) if (plain := _plain(form))) or frozenset({""})


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


def entropy(weights: Floats) -> float:
    """Entropy in nats of weights that are divided by their sum."""
    shares = weights[weights > 0] / weights.sum()
    return float(-(shares * np.log(shares)).sum() + 0.0)


def meaning_counts(samples: Sequence[Response]) -> Counter[int]:
    """How many samples have each meaning."""
    return Counter(cluster_meanings([sample.text for sample in samples]))


def lacks_samples(rows: AnswerRows) -> str:
    """In words, how many answers have too few samples beside them; empty where none has."""
    few = sum(len(samples) < FEWEST for samples in rows.samples) if rows.samples else len(rows.examples)
    return f"{few} of {len(rows.examples)} answers have fewer than {FEWEST} other samples" if few else ""
