"""What samples say about each other: every different pair once, as the judge says it of that pair alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from hneurons.answers import entailment
from hneurons.answers.entailment import (
    ModelEntailment,
    NLIEntailment,
    Pair,
    load_entailments,
    measure_entailments,
    texts_of,
)
from hneurons.core.timing import read_timing
from hneurons.core.types import Example, Question, Response
from hneurons.models.nli import NLIModel
from support.planted import read_tree
from support.tiny_models import tiny_model
from support.tiny_nli import save_tiny_nli

SAID = {
    "q0": ["Rome", "rome.", "Oslo", "the quick fox"],
    "q1": ["Paris", "Paris"],
    "q2": ["1600", "1601"],
    "q3": ["a", "b"],
}


def make_samples() -> tuple[list[Example], list[Response]]:
    responses = [Response(name, s, text, (50,)) for name, said in SAID.items() for s, text in enumerate(said)]
    examples = [
        Example(Question(name, f"What is {name}?", ("a",)), next(r for r in responses if r.question_id == name),
                "correct", "train", (0, 1), None if name == "q3" else (0, 1))
        for name in SAID
    ]  # fmt: skip
    return examples, responses


class Planted:
    """Says that a text entails every longer one."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    def settings(self) -> dict[str, Any]:
        return {"judge": "planted"}

    def prepare(self, pairs: Sequence[Pair]) -> tuple[entailment.Read, Sequence[int]]:
        def read(numbers: Sequence[int]) -> list[str]:
            chosen = [pairs[n] for n in numbers]
            self.asked += [(p.question.id, p.premise, p.hypothesis) for p in chosen]
            return ["entailment" if len(p.premise) < len(p.hypothesis) else "neutral" for p in chosen]

        return read, [len(p.premise) for p in pairs]


def test_every_pair_of_different_texts_of_a_located_answers_question_is_asked_once(tmp_path: Path) -> None:
    judge = Planted()
    found = measure_entailments(judge, *make_samples(), out=tmp_path)
    three = [("Rome", "Oslo"), ("Rome", "the quick fox"), ("Oslo", "the quick fox")]
    pairs = [("q0", *pair) for pair in three] + [("q2", "1600", "1601")]
    assert sorted(judge.asked) == sorted([*pairs, *((q, b, a) for q, a, b in pairs)])
    assert texts_of(*make_samples()) == {
        "q0": ["Rome", "Oslo", "the quick fox"],
        "q1": ["Paris"],
        "q2": ["1600", "1601"],
    }
    assert found.table is not None and found.table["q0"]["Rome", "the quick fox"] == "entailment"
    assert found.table["q2"]["1600", "1601"] == "neutral" and "q1" not in found.table
    spent = read_timing(tmp_path)["entailments"]
    assert spent.passes == 8 and spent.items == pytest.approx(3)  # answers
    again = Planted()
    assert measure_entailments(again, *make_samples(), out=tmp_path) == found == load_entailments(tmp_path)
    assert again.asked == []


def test_entailments_go_on_where_they_were_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entailment, "CHUNK", 3)
    measure_entailments(Planted(), *make_samples(), out=tmp_path / "whole")

    class Stopped(Planted):
        def prepare(self, pairs: Sequence[Pair]) -> tuple[entailment.Read, Sequence[int]]:
            read, lengths = super().prepare(pairs)

            def stop(numbers: Sequence[int]) -> Any:
                if len(self.asked) >= 3:
                    raise KeyboardInterrupt
                return read(numbers)

            return stop, lengths

    with pytest.raises(KeyboardInterrupt):
        measure_entailments(Stopped(), *make_samples(), out=tmp_path / "cut")
    rest = Planted()
    measure_entailments(rest, *make_samples(), out=tmp_path / "cut")
    assert len(rest.asked) == 5 and read_tree(tmp_path / "cut") == read_tree(tmp_path / "whole")


@pytest.mark.parametrize("chat", [False, True])
@torch.inference_mode()
def test_the_model_chooses_the_option_that_it_finds_likeliest(chat: bool) -> None:
    model: Any = tiny_model("llama", chat=chat)
    found = measure_entailments(ModelEntailment(model), *make_samples())
    assert found.judge == "model" and found.table is not None
    for name, relations in found.table.items():
        for (premise, hypothesis), relation in relations.items():
            said = entailment._ASK.format(question=f"What is {name}?", premise=premise, hypothesis=hypothesis)
            text = f"<s>user: {said}</s><s>answer:" if chat else f"{said}\n"
            ids = model.tokenizer(text + "The second answer: (", add_special_tokens=False)["input_ids"]
            logits = model.model(torch.tensor([ids])).logits[0, -1]
            letters = [model.tokenizer.convert_tokens_to_ids(letter) for letter in "ABC"]
            assert relation == ("entailment", "neutral", "contradiction")[int(logits[letters].argmax())]


def test_an_nli_model_reads_each_answer_behind_its_question(tmp_path: Path) -> None:
    model = NLIModel(str(save_tiny_nli(tmp_path / "nli")))
    found = measure_entailments(NLIEntailment(model), *make_samples())
    assert found.judge == "nli" and found.table is not None
    for (a, b), relation in found.table["q0"].items():
        assert relation == model.classify([(f"What is q0? {a}", f"What is q0? {b}")])[0]


def test_without_different_samples_nothing_is_asked() -> None:
    examples, responses = make_samples()
    found = measure_entailments(Planted(), examples[1:2], responses)
    assert found.table == {} and found.lacks == ""
