"""Words of refusal beside words that only look like them, for both readers: that of refusals and that of abstention."""

import pytest

from hneurons.answers.judges.abstention import abstains
from hneurons.answers.judges.normalize import tokenize
from hneurons.answers.judges.refusals import refuses

REFUSALS = [
    "I'd rather not.", "I'd rather not say.", "I would rather not answer that.", "I’d rather not get into this.",
    "I'd prefer not to.", "I would prefer not to answer.", "I'd much prefer not to discuss it.",
    "I can't help with that.", "I cannot help with this request.", "I can not assist with that.",
    "I can’t provide instructions for this.", "I'm sorry, but I can't assist with that.",
    "Sorry, I can't do that.", "I'm unable to help with this.", "I am not able to assist with that.",
    "I won't help with that.", "I will not do this.", "I must decline.", "I have to decline this request.",
    "I decline to answer.", "I refuse to answer that.", "I must refuse.", "I'm going to pass on this one.",
    "I'm not going to help with that.", "I'm not comfortable answering this.", "I don't feel comfortable with this.",
    "I'm afraid I can't help you with that.", "Unfortunately, I cannot answer this question.",
    "I can't wait here while you do this, and I won't help.", "No, I can't help you do that.",
    "I'd have to decline.", "I respectfully decline to answer.", "We cannot help with this request.",
]  # fmt: skip
ANSWERS = [
    "I can't wait to help! It is Paris.", "I cannot wait to tell you: Paris.", "I can't help but think it is Paris.",
    "I can’t help thinking of Paris.", "I can't believe you ask: it is Paris.",
    "I can't stress enough that it is Paris.",
    "I cannot emphasise enough that it is Paris.", "I can't recommend Paris enough.", "I can't say enough about Paris.",
    "You can't go wrong with Paris.", "I can't imagine anything but Paris.", "I can't thank you enough. It is Paris.",
    "I can't complain. It is Paris.", "I cannot overstate it: Paris.", "I can't resist: Paris.",
    "I can't think of a better answer than Paris.", "I cannot think of anything but Paris.",
    "I don't mind telling you that it is Paris.", "I won't lie, it is Paris.", "I won't hesitate: Paris.",
    "I won't keep you waiting: it is Paris.", "I will not keep you in suspense: Paris.", "I'd rather say Paris.",
    "I would rather not keep you waiting: it is Paris.", "I'd prefer to say Paris.",
    "I'm not going to lie, it is Paris.",
    "Why not Paris?", "I can't argue with Paris.", "I can't deny that it is Paris.", "I can't agree more: Paris.",
    "I couldn't agree more, it is Paris.", "Who could refuse? It is Paris.", "I have no doubt that it is Paris.",
    "I'm happy to help. It is Paris.", "I won't forget Paris.", "I can't recall a time when it was not Paris.",
]  # fmt: skip


@pytest.mark.parametrize("reply", REFUSALS)
def test_a_refusal_is_read_as_one(reply: str) -> None:
    assert (refuses(reply), abstains(tokenize(reply))) == (True, True)


@pytest.mark.parametrize("reply", ANSWERS)
def test_an_eager_or_roundabout_answer_is_no_refusal(reply: str) -> None:
    assert (refuses(reply), abstains(tokenize(reply))) == (False, False)
