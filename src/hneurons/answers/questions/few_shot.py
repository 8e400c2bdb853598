"""Worked examples that show a model the short-answer form. They are never questions of a set that is being asked."""

from collections.abc import Iterable

from hneurons.answers.questions.rows import question_key
from hneurons.core.errors import InputError
from hneurons.core.types import Question

FEW_SHOT: tuple[tuple[str, str], ...] = (
    ("Who wrote the novel 'The Tartar Steppe'?", "Dino Buzzati"),
    ("Which river flows through the Slovenian city of Maribor?", "Drava"),
    ("What sticky resin do honey bees make to seal their hives?", "Propolis"),
    ("In which Japanese city is the garden Kenroku-en?", "Kanazawa"),
    ("In which year did the Erie Canal open?", "1825"),
    ("Who painted 'The Ninth Wave'?", "Ivan Aivazovsky"),
    ("What is the metal band that holds a pencil's eraser called?", "Ferrule"),
    ("Which lake lies between Hungary's towns of Keszthely and Siófok?", "Lake Balaton"),
    ("What pleasant smell rises when rain falls on dry soil?", "Petrichor"),
    ("Who composed the opera 'The Cunning Little Vixen'?", "Leoš Janáček"),
    ("Which Italian town is known for its trulli houses?", "Alberobello"),
    ("Which kitchen tool is used to drain cooked pasta?", "Colander"),
    ("What is the soft inside of a loaf of bread called?", "Crumb"),
    ("Which architect designed the Sydney Opera House?", "Jørn Utzon"),
    ("What is the hard tip at the end of a shoelace called?", "Aglet"),
    ("Which language is spoken in the Faroe Islands beside Danish?", "Faroese"),
    ("What is the handle of a sword called?", "Hilt"),
    ("In which year was the Suez Canal opened?", "1869"),
    ("What is the gap between two front teeth called?", "Diastema"),
    ("Which tool does a carpenter use to shave wood smooth?", "Hand plane"),
)
"""(question, answer). Things, names, places and years that sets of trivia rarely ask for."""


def few_shot_examples(n: int, *, avoid: Iterable[Question] = ()) -> tuple[tuple[str, str], ...]:
    """The first `n` examples that share neither question nor answer with any question of `avoid`.

    Questions are compared by their words, answers with all aliases. Raises `InputError` where fewer than `n` are left.
    """
    asked: set[str] = set()
    answers: set[str] = set()
    for question in avoid:
        asked.add(question_key(question.text))
        answers.update(map(question_key, question.answers))
    free = [
        (text, answer)
        for text, answer in FEW_SHOT
        if question_key(text) not in asked and question_key(answer) not in answers
    ]
    if not 0 <= n <= len(free):
        raise InputError(
            f"{n} few-shot examples are wanted, and {len(free)} of {len(FEW_SHOT)} are not among the questions asked"
        )
    return tuple(free[:n])
