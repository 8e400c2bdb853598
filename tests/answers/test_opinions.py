"""What the model says of its answers: against a plain forward pass and plain greedy decoding of one answer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hneurons.answers import opinions
from hneurons.answers.opinions import load_opinions, measure_opinions, parse_number
from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.timing import read_timing
from hneurons.core.types import Example, Question, Response
from hneurons.models.options import Asked, OptionReader
from support.planted import read_tree
from support.tiny_models import tiny_model


def make_examples(n: int) -> list[Example]:
    examples = []
    for i in range(n):
        question = Question(f"q{i}", "What is " + "very " * (i % 4) + "late?", ("a",))
        response = Response(f"q{i}", 0, "the year 1600 " * (1 + i % 3), (50, 51))
        examples.append(Example(question, response, "incorrect" if i % 2 else "correct", "train", (0, 4), (0, 1)))
    return examples


def written(example: Example) -> str:
    return f"Question: {example.question.text}\nProposed Answer: {example.response.text.strip()}"


@pytest.mark.parametrize(("family", "chat"), [("llama", True), ("gpt2", False)])
@torch.inference_mode()
def test_log_odds_and_numbers_are_those_of_one_answer_alone(family: str, chat: bool) -> None:
    model: Any = tiny_model(family, chat=chat)
    examples = make_examples(7)
    found = {one.example_id: one for one in measure_opinions(model, examples, batch_size=3).rows}
    for example in examples:
        said = written(example) + "\nIs the proposed answer:\n (A) True\n (B) False"
        text = f"<s>user: {said}</s><s>answer:" if chat else f"{said}\n"
        ids = model.tokenizer(text + "The proposed answer is: (", add_special_tokens=False)["input_ids"]
        logprobs = model.model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        a, b = (logprobs[model.tokenizer.convert_tokens_to_ids(letter)] for letter in "AB")
        assert found[example.id].log_odds == pytest.approx(float(a - b), abs=1e-3)
        assert found[example.id].mass == pytest.approx(float(a.exp() + b.exp()), abs=1e-3)
        asked = opinions._NUMBER.partition("Question:")[0] + written(example)
        text = f"<s>user: {asked}</s><s>answer:" if chat else f"{asked}\nNumber:"
        ids, drawn = list(model.tokenizer(text, add_special_tokens=False)["input_ids"]), []
        stops = model.stop_ids if chat else model.stop_ids | model.newline_ids
        while len(drawn) < 8 and not set(drawn) & stops:
            drawn.append(int(model.model(torch.tensor([[*ids, *drawn]])).logits[0, -1].argmax()))
        whole = model.tokenizer.decode(drawn, skip_special_tokens=True).strip()
        assert found[example.id].said == (whole if chat else whole.split("\n")[0].strip())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_opinions_do_not_depend_on_what_is_asked_beside_them(family: str) -> None:
    model: Any = tiny_model(family)
    one, many = (measure_opinions(model, make_examples(9), batch_size=size).rows for size in (1, 5))
    alone = [measure_opinions(model, [example]).rows[0] for example in make_examples(9)]
    by_id = {opinion.example_id: opinion for opinion in alone}
    for a, b in zip(one, many, strict=True):
        assert a.example_id == b.example_id and a.said == b.said == by_id[a.example_id].said
        assert [b.log_odds, by_id[a.example_id].log_odds] == pytest.approx([a.log_odds] * 2, abs=1e-3)


def test_answers_that_do_not_fit_the_window_are_left_out_and_counted() -> None:
    model: Any = tiny_model("llama")
    examples = make_examples(4)
    long = replace(examples[0], question=replace(examples[0].question, id="long", text="very " * 300))
    model.window = 400
    found = measure_opinions(model, [*examples, long])
    assert {one.example_id for one in found.rows} == {e.id for e in examples} and found.summary["too_long"] == 1
    assert "too_long" not in measure_opinions(model, examples).summary
    with pytest.raises(NotEnoughDataError, match="none of 1 answers fits the window of tiny-llama"):
        measure_opinions(model, [long])


def test_options_are_told_by_the_first_token_that_differs() -> None:
    """Where the bracket and the letter are one token, that token counts, and none is cut in two."""
    model: Any = tiny_model("llama")
    reader = OptionReader(model, [Asked("Who?", "It is")], (" Paris", " Q"))
    ids = model.tokenizer("Who?\nIt is")["input_ids"]
    options = [model.tokenizer(f"Who?\nIt is{option}")["input_ids"] for option in (" Paris", " Q")]
    common = len(reader.prompts[0])
    assert [whole[common] for whole in options] == reader.options[0] and options[0][:common] == options[1][:common]
    assert reader.prompts[0] == [*ids, *options[0][len(ids) : common]]
    with pytest.raises(InputError, match="does not tell the options A, A apart"):
        OptionReader(model, [Asked("Who?", "(")], ("A", "A"))


@pytest.mark.parametrize(
    ("said", "number"),
    [("85", 85), (" **7** ", 7), ("100%", 100), ("42.", 42), ("30/100", 30), ("12 percent", 12),
     ("<think>9</think>8", 8), ("101", None), ("0.85", None), ("about 85", None), ("85 or 90", None), ("", None),
     ("1 000", None), ("-5", None)],
)  # fmt: skip
def test_only_a_reply_that_is_one_whole_number_is_read(said: str, number: int | None) -> None:
    assert parse_number(said) == number


def test_opinions_are_kept_and_go_on_where_they_were_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, examples = tiny_model("llama"), make_examples(7)
    monkeypatch.setattr(opinions, "CHUNK", 3)
    whole = measure_opinions(model, examples, out=tmp_path / "whole")
    assert sum(whole.summary["unread"].values()) == sum(one.number is None for one in whole.rows)
    spent = read_timing(tmp_path / "whole")
    assert spent["P(True)"].items == spent["P(True)"].passes == 7 == spent["verbalised confidence"].items
    assert 7 <= spent["verbalised confidence"].passes <= 7 * opinions.NUMBER_TOKENS
    asked: list[int] = []

    def stop(self: Any, numbers: range) -> tuple[list[str], int]:
        if asked:
            raise KeyboardInterrupt
        asked.extend(numbers)
        return original(self, numbers)

    original = opinions._Asker.ask_numbers
    with monkeypatch.context() as patch:
        patch.setattr(opinions._Asker, "ask_numbers", stop)
        with pytest.raises(KeyboardInterrupt):
            measure_opinions(model, examples, out=tmp_path / "cut")
    assert measure_opinions(model, examples, out=tmp_path / "cut") == whole == load_opinions(tmp_path / "whole")
    assert read_tree(tmp_path / "cut") == read_tree(tmp_path / "whole")
    with pytest.raises(NotEnoughDataError, match="none of 0 examples"):
        measure_opinions(model, [])
