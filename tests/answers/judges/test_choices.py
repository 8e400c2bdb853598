"""Which option a reply names: every way to write it down, and every letter that is none."""

import pytest

from hneurons.answers.judges.choices import read_choice

OPTIONS = {"A": "Breathing", "B": "Compaction", "C": "1.5 km", "D": "December rain."}
NAMED = [
    ("**B**", "B"), ("*B*", "B"),
    ("`B`", "B"), ("\\boxed{B}", "B"), ("$\\boxed{\\text{C}}$", "C"), ('"B"', "B"), ("“b”", "B"),
    ("Ｂ", "B"), ("（Ｂ）", "B"), ("Option B is correct", "B"), ("B is the correct answer.", "B"), ("answer: b", "B"),
    ("Answer - (b)", "B"), ("the answer is option b", "B"), ("The correct option is b", "B"), ("Final answer: C", "C"),
    ("I choose option C", "C"), ("I would go with D.", "D"), ("It is **D. December rain.**", "D"),
    ("B Compaction", "B"),
    ("The best answer is: **(B)**", "B"), ("The answer is A because it fits", "A"), ("The answer is B compaction", "B"),
    ("B. Actually, the answer is C.", "C"), ("The answer is B. No, wait, the answer is D.", "D"),
    ("A) Breathing\nB) Compaction\nC) 1.5 km\nD) December rain.\nAnswer: B", "B"), ("B\n\nA) is wrong. C) too.", "B"),
    ("<think>A? A!</think>B", "B"),
]  # fmt: skip
UNNAMED = [
    "The answer is A bird of prey", "A bird of prey", "The answer is a bird",
    "Option A is incorrect", "The answer is not A.",
    "If the answer is A, the rest is wrong", "The answer is B. The answer is C.", "Answer: B\nAnswer: C",
    "A) Breathing B) Compaction C) 1.5 km D) December rain.", "A) Breathing\nB) Compaction",
    "(A) Breathing (B) Compaction",
    "<think>A", "The answer is Compacted clay", "December", "", "It is a bird",
]  # fmt: skip


@pytest.mark.parametrize(("reply", "label"), NAMED)
def test_a_named_option_is_read(reply, label):
    assert read_choice(reply, OPTIONS).label == label


@pytest.mark.parametrize("reply", UNNAMED)
def test_a_letter_that_names_no_option_is_none(reply):
    assert read_choice(reply, OPTIONS).label is None
