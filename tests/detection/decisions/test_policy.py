"""A policy turns the scores of an answer into one action, with a reason."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from hneurons.core.errors import InputError
from hneurons.detection.assessment import Assessment
from hneurons.detection.decisions.deciding import Decisions, load_decisions
from hneurons.detection.decisions.policy import Policy, PolicyStep, check_policy, combine_risk, decide, load_policy
from support.labelled import bare_detector

ANSWER = Assessment("a", 0.4, 0.6, True, (0, 1), (), {"perplexity": 2.0}, False, probability=0.3, decision="answer")
POLICY = Policy((PolicyStep(0.2, "answer"), PolicyStep(0.5, "retrieve")), "ask a human")
TOML = """
name = "internal policies"
otherwise = "ask a human"
guarantee = true
offset = -1

[weights]
log_odds = 0.5
perplexity = 0.25

[[steps]]
below = 0.2
action = "answer"

[[steps]]
below = 0.5
action = "retrieve"
"""


@pytest.mark.parametrize(
    ("probability", "action"),
    [(0.1, "answer"), (0.2, "retrieve"), (0.49, "retrieve"), (0.5, "ask a human"), (1, "ask a human")],
)
def test_the_first_step_whose_bound_the_risk_is_below_gives_the_action(probability: float, action: str) -> None:
    found = decide(replace(ANSWER, probability=probability), POLICY)
    assert found.action == action and found.risk == probability and f"{probability:.3f}" in found.reason


def test_weights_are_of_log_odds() -> None:
    weighed = replace(POLICY, weights={"log_odds": 0.5, "perplexity": 0.25}, offset=-1)
    assert combine_risk(ANSWER, weighed) == pytest.approx(1 / (1 + math.exp(1 - 0.2 - 0.5)))


def test_answers_that_the_guarantee_withholds_and_a_void_guarantee_get_another_action() -> None:
    sure, careful = replace(ANSWER, probability=0.1), replace(POLICY, guarantee=True, void="abstain")
    assert decide(sure, careful).action == "answer"
    assert decide(replace(sure, decision="abstain"), careful).action == "retrieve"
    assert decide(replace(sure, decision="abstain"), POLICY).action == "answer"
    found = decide(sure, careful, void=True)
    assert found.action == "abstain" and "void" in found.reason
    assert decide(replace(sure, probability=0.4), careful, void=True).action == "retrieve"


def test_an_answer_without_a_score_is_named_and_not_given() -> None:
    lacking = replace(ANSWER, problem="the response is empty", log_odds=math.nan, probability=math.nan)
    assert decide(lacking, POLICY).action == "ask a human" and decide(lacking, POLICY).reason == "the response is empty"
    weighed = replace(POLICY, weights={"perplexity": 1.0}, unscored="abstain")
    assert decide(replace(ANSWER, scores={}), weighed).action == "abstain"


def test_a_policy_is_read_from_toml_and_json_alike(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(TOML)
    found = load_policy(tmp_path / "policy.toml")
    assert found == Policy(POLICY.steps, "ask a human", guarantee=True, weights={"log_odds": 0.5, "perplexity": 0.25},
                           offset=-1, name="internal policies")  # fmt: skip
    (tmp_path / "policy.json").write_text(json.dumps(found.to_row()))
    assert load_policy(tmp_path / "policy.json") == found
    assert load_policy(str(tmp_path / "policy.toml")) == found
    assert load_decisions(str(tmp_path), bare_detector(), policy=str(tmp_path / "policy.toml")).policy == found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('action = "answer"', 'action = "guess"', "one of answer, abstain, retrieve, ask a human"),
        ('otherwise = "ask a human"', "", "'otherwise' is missing"),
        ("below = 0.2", "below = 0.6", "must rise"),
        ("below = 0.5", "below = 1.5", "must rise and lie above 0"),
        ("perplexity = 0.25", "perplexity = nan", "finite numbers"),
        ("perplexity = 0.25", 'perplexity = "much"', "should be a number"),
        ("guarantee = true", "guaranty = true", "'guaranty' is no field"),
        ("[weights]", "[weights", "is no policy"),
    ],
)
def test_a_wrong_policy_is_one_sentence(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TOML
    (tmp_path / "policy.toml").write_text(TOML.replace(old, new, 1))
    with pytest.raises(InputError, match=said) as caught:
        load_policy(tmp_path / "policy.toml")
    assert "policy.toml" in str(caught.value)


def test_what_a_policy_asks_for_must_be_there() -> None:
    scores = ["perplexity", "answer length"]
    with pytest.raises(InputError, match="run 'calibrate' first"):
        check_policy(POLICY, scores, calibrated=False, guaranteed=True)
    with pytest.raises(InputError, match="run 'abstain' first"):
        check_policy(replace(POLICY, guarantee=True), scores, calibrated=True, guaranteed=False)
    with pytest.raises(InputError, match="'perplexed', did you mean 'perplexity'"):
        check_policy(replace(POLICY, weights={"perplexed": 1}), scores, calibrated=False, guaranteed=False)
    check_policy(replace(POLICY, weights={"perplexity": 1}), scores, calibrated=False, guaranteed=False)
    assert Decisions(policy=replace(POLICY, weights={"log_odds": 1.0})).apply(ANSWER).action == "ask a human"
    with pytest.raises(InputError, match="run 'calibrate' first"):
        Decisions(policy=POLICY).check(scores)
