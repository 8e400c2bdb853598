"""The `locate` stage: answers become token spans, both classes by the same rules, and what is not found is counted."""

from dataclasses import replace
from functools import cache

import pytest
from tokenizers import normalizers

from hneurons.answers.locating import FINDERS, find_extract, locate_answers
from hneurons.answers.selection import load_examples
from hneurons.answers.token_offsets import encode_text
from hneurons.core.errors import EndpointError, InputError
from hneurons.core.types import Example, Question, Response
from hneurons.models.endpoint import Endpoint
from support.chat_server import ChatServer, Reply
from support.tiny_models import tiny_tokenizer

CITIES = ["Paris", "Rome", "Oslo", "東京", "São Paulo", "Xi'an", "🎉"]


@cache
def tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<eos>"], show_progress=False
    )
    backend.train_from_iterator([f"The answer is {city}." for city in CITIES], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


def example(n, text, verdict="correct", *, with_ids=True):
    ids = tuple(tokenizer()(" " + text + "<eos>")["input_ids"]) if with_ids else ()
    question = Question(f"q{n}", "Which city is meant?", (CITIES[n % len(CITIES)],))
    return Example(question, Response(question.id, 0, text, ids), verdict)


EXAMPLES = [example(n, f"The answer is {city}.", "correct" if n % 2 else "incorrect") for n, city in enumerate(CITIES)]


def test_each_answer_gets_its_characters_and_its_tokens():
    found = locate_answers(EXAMPLES, tokenizer=tokenizer())
    for given, located, city in zip(EXAMPLES, found.examples, CITIES, strict=True):
        assert located.char_span is not None and located.token_span is not None
        assert located.response.text[slice(*located.char_span)] == city
        decoded = tokenizer().decode(located.response.token_ids[slice(*located.token_span)])
        assert city in decoded
        assert decoded.strip(" .") == city
        assert (located.question, located.response, located.verdict) == (given.question, given.response, given.verdict)
    assert found.summary == {
        "examples": 7,
        "found": {"right": 3, "wrong": 4},
        "not_found": {"right": 0, "wrong": 0},
        "encoded_here": 0,
        "not_encoded": 0,
    }


def test_what_is_not_found_is_none_and_counted_per_class():
    examples = [*EXAMPLES, example(8, "?!"), example(9, "...", "incorrect"), example(10, "??", "incorrect")]
    found = locate_answers(examples, tokenizer=tokenizer())
    assert [e.token_span for e in found.examples[7:]] == [None, None, None]
    assert [e.char_span for e in found.examples[7:]] == [None, None, None]
    assert found.summary["not_found"] == {"right": 1, "wrong": 2}


def test_the_verdict_and_the_known_answers_move_no_span():
    flipped = [
        Example(
            Question(e.question.id, e.question.text, ("something", "else")),
            e.response,
            "incorrect" if e.verdict == "correct" else "correct",
        )
        for e in EXAMPLES
    ]
    spans = [(e.char_span, e.token_span) for e in locate_answers(EXAMPLES, tokenizer=tokenizer()).examples]
    assert spans == [(e.char_span, e.token_span) for e in locate_answers(flipped, tokenizer=tokenizer()).examples]


def test_a_response_without_token_ids_is_encoded_and_counted():
    found = locate_answers([example(0, "The answer is Paris.", with_ids=False)], tokenizer=tokenizer())
    (located,) = found.examples
    assert located.token_span is not None
    assert tokenizer().decode(located.response.token_ids[slice(*located.token_span)]).strip() == "Paris"
    assert found.summary["encoded_here"] == 1


@pytest.mark.parametrize("before, after", [((), ()), ((" ",), ("<eos>",)), (("<think></think>", "\n\n"), ("\n",))])
def test_log_probabilities_stay_where_the_endpoints_tokens_are_cut_like_ours(before, after):
    text = "The answer is Paris."
    offsets = encode_text(tokenizer(), text).offsets
    told = [*before, *(text[start:end] for start, end in offsets), *after]
    values = tuple(-0.1 * n for n in range(len(told)))
    given = example(0, text, with_ids=False)
    response = replace(given.response, logprobs=values, entropies=values, token_texts=tuple(told))
    found = locate_answers([replace(given, response=response)], tokenizer=tokenizer())
    located = found.examples[0].response
    assert located.logprobs == located.entropies == values[len(before) : len(before) + len(offsets)]
    assert len(located.token_ids) == len(offsets) and located.token_texts == () and found.summary["logprobs_kept"] == 1


@pytest.mark.parametrize(
    "told", [("The answer is", " Paris."), ("The", " answer", " is", " Rome."), (), tuple("The answer is Paris.")]
)
def test_log_probabilities_of_tokens_that_are_cut_otherwise_are_let_go_of(told):
    given = example(0, "The answer is Paris.", with_ids=False)
    values = tuple(-0.1 for _ in told) or (-0.1, -0.2)
    response = replace(given.response, logprobs=values, token_texts=told)
    found = locate_answers([replace(given, response=response)], tokenizer=tokenizer())
    assert found.examples[0].response.logprobs == () and "logprobs_kept" not in found.summary


def normalising_tokenizer(*steps):
    """Byte-level BPE that changes a text before it encodes it, as Qwen's (NFC) and others do."""
    changed = tiny_tokenizer()
    changed.backend_tokenizer.normalizer = normalizers.Sequence([getattr(normalizers, step)() for step in steps])
    return changed


FOREIGN = ["A\u030aland", "\u212bland", "Zu\u0308rich", "\uff30\uff41\uff52\uff49\uff53", "\ufb01nland", "Paris"]


@pytest.mark.parametrize("steps", [("NFC",), ("NFKC",), ("NFD", "StripAccents", "Lowercase")])
@pytest.mark.parametrize("city", FOREIGN)
def test_a_text_that_the_tokenizer_normalises_is_located_in_its_own_characters(steps, city):
    tokenizer = normalising_tokenizer(*steps)
    text = f"The answer is {city}."
    found = locate_answers([example(0, text, with_ids=False)], tokenizer=tokenizer)
    (located,) = found.examples
    assert located.response.text[slice(*located.char_span)] == city
    said = tokenizer.decode(located.response.token_ids[slice(*located.token_span)])
    assert said.strip() == tokenizer.backend_tokenizer.normalizer.normalize_str(city)
    assert found.summary["encoded_here"] == 1 and found.summary["not_encoded"] == 0


@pytest.mark.parametrize(
    "text", ["The answer is Paris</s>.", "<s>The answer is Paris.", "</s> The answer is Paris.</s>"]
)
def test_special_tokens_in_a_text_are_plain_text(text):
    (located,) = locate_answers([example(0, text, with_ids=False)], tokenizer=tiny_tokenizer()).examples
    assert not {0, 1} & set(located.response.token_ids)
    assert "Paris" in tiny_tokenizer().decode(located.response.token_ids[slice(*located.token_span)])


def test_a_text_that_cannot_be_encoded_is_counted_and_the_others_are_located(tmp_path):
    examples = [example(n, t, with_ids=False) for n, t in enumerate(["Paris.", "It is \ud800 Rome.", "Rome."])]
    found = locate_answers(examples, tokenizer=tiny_tokenizer())
    assert [e.token_span is None for e in found.examples] == [False, True, False]
    assert (found.summary["encoded_here"], found.summary["not_encoded"]) == (2, 1)


def test_a_slow_tokenizer_that_normalises_is_counted(monkeypatch):
    slow = normalising_tokenizer("NFC")
    monkeypatch.setattr(type(slow), "is_fast", False)
    found = locate_answers([example(0, "A\u030aland", with_ids=False)], tokenizer=slow)
    assert found.summary["not_encoded"] == 1


def test_a_folder_is_resumed_and_read_back(tmp_path):
    found = locate_answers(EXAMPLES, tokenizer=tokenizer(), out=tmp_path)
    assert locate_answers(EXAMPLES, tokenizer=tokenizer(), out=tmp_path) == found
    assert load_examples(tmp_path, stage="spans") == found


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Paris", "Paris"),
        (" Paris\n", "Paris"),
        ('"Paris"', "Paris"),
        ("Paris.", "Paris."),
        ("“the city Paris”.", "the city Paris"),
        ("paris", None),
        ("The answer: Paris", None),
        ("London", None),
        ("NONE", None),
        ("", None),
    ],
)
def test_an_extract_must_stand_in_the_response_letter_for_letter(said, answer):
    text = "It is the city Paris."
    span = find_extract(text, said)
    assert (text[slice(*span)] if span else None) == answer


def extracting(number, body):
    response = body["messages"][0]["content"].split("Response: ")[1].split("\n")[0]
    return Reply("London" if "Oslo" in response else response.removeprefix("The answer is ").rstrip("."))


def test_the_llm_finder_takes_only_what_the_response_says():
    with ChatServer(extracting) as server:
        found = locate_answers(EXAMPLES, tokenizer=tokenizer(), finder="llm", endpoint=Endpoint(server.url, "m"))
    cut = [e.response.text[slice(*e.char_span)] if e.char_span else None for e in found.examples]
    assert cut == [city if city != "Oslo" else None for city in CITIES]
    assert found.summary["not_found"] == {"right": 0, "wrong": 1}
    assert all("Paris" not in str(body) or "Which city" in str(body) for body in server.bodies)


def test_a_lost_endpoint_keeps_finished_chunks(tmp_path):
    examples = [example(n, f"The answer is {CITIES[n % 7]}.") for n in range(40)]

    def dying(number, body):
        return extracting(number, body) if number < 35 else Reply(status=500, raw="{}")

    with ChatServer(dying) as server, pytest.raises(EndpointError, match="results so far are kept"):
        endpoint = Endpoint(server.url, "m", retries=0)
        locate_answers(examples, tokenizer=tokenizer(), finder="llm", endpoint=endpoint, out=tmp_path)
    with ChatServer(extracting) as server:
        endpoint = Endpoint(server.url, "m")
        found = locate_answers(examples, tokenizer=tokenizer(), finder="llm", endpoint=endpoint, out=tmp_path)
        assert len(server.bodies) == 8
    assert len(found.examples) == 40


def test_unusable_arguments_are_one_sentence():
    with pytest.raises(InputError, match="unknown finder 'x': known are llm, response"):
        locate_answers(EXAMPLES, tokenizer=tokenizer(), finder="x")
    with pytest.raises(InputError, match="needs an endpoint"):
        locate_answers(EXAMPLES, tokenizer=tokenizer(), finder="llm")


def test_every_finder_says_what_it_does():
    assert all(FINDERS.summaries().values())
