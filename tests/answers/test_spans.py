"""The short answer of a reply, and the tokens that hold it, with byte-level and sentencepiece-style tokenizers."""

from functools import cache
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hneurons.answers.spans import MAX_CHARS, find_answer
from hneurons.answers.token_offsets import token_offsets, token_span
from hneurons.core.errors import InputError

ANSWERS = [
    ("Paris", "Paris"),
    ("Paris.", "Paris"),
    (" Paris\n", "Paris"),
    ("The answer is Paris.", "Paris"),
    ("The correct answer is: Paris", "Paris"),
    ("It's Paris!", "Paris"),
    ("It’s Paris!", "Paris"),
    ("Sure! The capital of France is Paris.", "Paris"),
    ("Answer: Paris", "Paris"),
    ("**Paris**", "Paris"),
    ("“Paris”", "Paris"),
    ("1. Paris\n2. London", "Paris"),
    ("Paris is the capital of France.", "Paris"),
    ("Paris, which lies on the Seine", "Paris"),
    ("Paris, the capital", "Paris"),
    ("Paris, France", "Paris, France"),
    ("Paris (not London)", "Paris"),
    ("The capital is Paris, not London.", "Paris"),
    ("I think it's London, but I'm not sure", "London"),
    ("The Great Gatsby was written by F. Scott Fitzgerald.", "F. Scott Fitzgerald"),
    ("J. K. Rowling. She wrote it in 1997.", "J. K. Rowling"),
    ("St. Louis", "St. Louis"),
    ("1,000 men", "1,000 men"),
    ("Bachelor's degree", "Bachelor's degree"),
    ("The Beatles were an English band", "The Beatles"),
    ("He was born in Lyon, France.", "Lyon, France"),
    ("The Lord of the Rings: The Two Towers", "The Lord of the Rings: The Two Towers"),
    ("It was a long time ago, before the war.", "a long time ago, before the war"),
    ("答案是：东京。", "东京"),
    ("🎉🎉", "🎉🎉"),
    ("Yes", "Yes"),
    ("", None),
    ("...", None),
    ("\n\n", None),
    ("word " * 40, "word " * 39 + "word"),
]


@pytest.mark.parametrize(("text", "answer"), ANSWERS)
def test_the_short_answer_is_found(text, answer):
    span = find_answer(text)
    assert (text[slice(*span)] if span else None) == answer


def test_right_and_wrong_answers_are_cut_alike():
    for frame in ("{}", "The answer is {}.", "It was {}, I think.", "{} is the capital of France.", "Sure! {}"):
        cut = [find_answer(frame.format(city), question="What is the capital?") for city in ("Paris", "Milan")]
        assert cut[0] == cut[1]
        assert cut[0] is not None


def test_words_that_restate_the_question_are_not_the_answer():
    question = "What is the Axilla commonly known as?"
    text = "The Axilla is the armpit."
    span = find_answer(text, question=question)
    assert span is not None
    assert text[slice(*span)] == "the armpit"
    assert find_answer("The Axilla is commonly known", question=question) is None


@given(st.text(max_size=120), st.text(max_size=40))
def test_a_found_answer_is_a_short_stretch_of_the_text(text, question):
    span = find_answer(text, question=question)
    if span is not None:
        assert 0 <= span[0] < span[1] <= len(text)
        assert span[1] - span[0] <= MAX_CHARS
        assert text[slice(*span)] == text[slice(*span)].strip()


# ---- tokens ----------------------------------------------------------------------------------------------------

CORPUS = [
    "The capital of France is Paris.",
    "it's O'Brien's café",
    "東京は日本の首都です",
    "🎉 party 👩‍👩‍👧",
    "न्यू दिल्ली",
    "1,000 men",
]


@cache
def byte_level():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<eos>"],
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


def _byte_fallback(decoder):
    from tokenizers import Regex, Tokenizer, models, normalizers
    from transformers import PreTrainedTokenizerFast

    vocab = [("<unk>", 0.0), ("<eos>", 0.0)] + [(f"<0x{n:02X}>", -10.0) for n in range(256)]
    vocab += [("▁", -3.0), ("▁the", -2.0), ("▁Paris", -2.0), ("'", -3.0), ("▁▁", -4.0), ("is", -2.5), ("東京", -2.0)]
    vocab += [(letter, -3.5) for letter in "abcdefghijklmnopqrstuvwxyzPT"]
    backend = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True))
    backend.normalizer = normalizers.Replace(Regex(" "), "▁")
    backend.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>")


@cache
def gemma_style():
    from tokenizers import decoders

    return _byte_fallback(decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]))


@cache
def llama_style():
    """As sentencepiece models do, the first token's leading space is not shown."""
    from tokenizers import decoders

    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return _byte_fallback(decoders.Sequence(steps))


def packaged(name):
    from transformers import AutoTokenizer

    from hneurons.models.checkpoints import PACKAGED, resolve_checkpoint

    try:
        return AutoTokenizer.from_pretrained(resolve_checkpoint(name))
    except Exception as error:
        pytest.skip(f"{PACKAGED[name].package} is not available: {error}")


MAKERS = [byte_level, gemma_style, llama_style]
texts = st.text(
    alphabet=st.one_of(
        st.sampled_from("abcdefghijklmnop '’.,PT-"),
        st.sampled_from("東京日本首都です한국"),
        st.sampled_from("🎉👩\u200d👧é\u0301ü\u0308न्यू\u00a0"),
    ),
    min_size=1,
    max_size=30,
)


def check_cover(tokenizer, text, span):
    """Every character of the span is made by a token inside, and no token outside makes one."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = [*ids, tokenizer.eos_token_id]
    decoded = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    for shown in {decoded, decoded.strip()}:
        start, end = min(span[0], len(shown)), min(span[1], len(shown))
        offsets = token_offsets(tokenizer, ids, shown)
        assert len(offsets) == len(ids)
        assert all(0 <= a <= b <= len(shown) for a, b in offsets)
        made = {character for a, b in offsets for character in range(a, b)}
        assert made == set(range(len(shown)))
        assert all(first[0] <= second[0] for first, second in pairwise(offsets))
        found = token_span(offsets, (start, end))
        if start == end:
            assert found is None
            continue
        assert found is not None
        inside = {c for a, b in offsets[slice(*found)] for c in range(a, b)}
        outside = {c for n, (a, b) in enumerate(offsets) if not found[0] <= n < found[1] for c in range(a, b)}
        assert set(range(start, end)) <= inside
        assert not outside & set(range(start, end))


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
@settings(max_examples=120, deadline=None)
@given(text=texts, place=st.tuples(st.integers(0, 30), st.integers(0, 30)))
@example(text="it's O'Brien's café", place=(5, 14))
@example(text="🎉東京🎉", place=(1, 3))
@example(text=" Paris", place=(0, 5))
def test_the_answers_tokens_cover_it_and_no_other_token_touches_it(maker, text, place):
    check_cover(maker(), text, (min(place), max(place)))


@pytest.mark.real_model
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma-3-270m"])
def test_real_tokenizers_give_exact_offsets(name):
    tokenizer = packaged(name)
    for text in [
        *CORPUS,
        " The answer is Bachelor's degree",
        "naïve e\u0301 \u200d",
        "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
        "Zażółć gęślą",
        "a\n\nb",
    ]:
        for start in range(0, len(text), 5):
            check_cover(tokenizer, text, (start, min(start + 4, len(text))))
    ids = tokenizer("The answer is O'Brien's café.", add_special_tokens=False)["input_ids"]
    offsets = token_offsets(tokenizer, ids, "The answer is O'Brien's café.")
    span = token_span(offsets, (14, 28))
    assert span is not None
    assert tokenizer.decode(ids[slice(*span)]).strip() == "O'Brien's café"


def test_a_character_made_by_several_tokens_belongs_to_each():
    tokenizer = gemma_style()
    ids = tokenizer("a🎉b", add_special_tokens=False)["input_ids"]
    assert len(ids) == 6
    assert token_offsets(tokenizer, ids, "a🎉b") == [(0, 1), (1, 2), (1, 2), (1, 2), (1, 2), (2, 3)]


def test_a_newline_that_stopped_a_base_model_has_no_characters():
    tokenizer = byte_level()
    ids = tokenizer(" Paris\n", add_special_tokens=False)["input_ids"]
    offsets = token_offsets(tokenizer, ids, "Paris")
    assert offsets[-1] == (5, 5)
    assert token_span(offsets, (0, 5)) == (0, len(ids) - 1)


def test_another_models_ids_give_one_sentence():
    tokenizer = byte_level()
    ids = tokenizer("London", add_special_tokens=False)["input_ids"]
    with pytest.raises(InputError, match="use the tokenizer of the model"):
        token_offsets(tokenizer, ids, "Paris")
