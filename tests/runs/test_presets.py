"""The paper's settings under one name: what is given beats them, and what they cannot have is said."""

from inspect import signature

import pytest

from hneurons.core.errors import InputError
from hneurons.detection.fitting import fit_detector
from hneurons.runs.plan import RunPlan
from hneurons.runs.presets import PAPER, apply_preset

PLAN = RunPlan(model="m", questions="facts", n=4, min_agreement=3, temperature=0.3)


def test_the_papers_settings_replace_what_was_not_given() -> None:
    plan, said = apply_preset(PLAN, "paper", given={"model", "questions"}, endpoint=True)
    assert said == "" and {name: getattr(plan, name) for name in PAPER} == PAPER
    assert (plan.labels, plan.scaling, plan.selection, plan.other) == ("3-vs-1", "raw", "capability", "sequence")
    assert (plan.temperature, plan.n, plan.min_agreement, plan.judge, plan.finder) == (1.0, 10, None, "llm", "llm")
    assert (plan.model, plan.questions) == ("m", "facts")
    plan.check()


def test_a_flag_that_is_given_beats_the_preset() -> None:
    plan, said = apply_preset(PLAN, "paper", given={"n", "min_agreement", "scaling", "judge"}, endpoint=True)
    assert (plan.n, plan.min_agreement, plan.scaling, plan.judge) == (4, 3, "standardized", "alias") and said == ""
    assert (plan.temperature, plan.labels, plan.finder) == (1.0, "3-vs-1", "llm")


def test_without_an_endpoint_judge_and_finder_stay_and_one_sentence_names_them() -> None:
    plan, said = apply_preset(PLAN, "paper", given=set(), endpoint=False)
    assert (plan.judge, plan.finder) == ("alias", "response")
    assert said == (
        "preset 'paper' without --judge-url: the judge 'alias' and the finder 'response' in place of the language "
        "model that it asks"
    )
    assert "finder 'response'" in apply_preset(PLAN, "paper", given={"judge"}, endpoint=False)[1]
    assert apply_preset(PLAN, "paper", given={"judge", "finder"}, endpoint=False)[1] == ""


def test_an_unknown_preset_and_unknown_settings_of_the_fit_are_one_sentence() -> None:
    with pytest.raises(InputError, match="unknown preset 'papers', did you mean 'paper'"):
        apply_preset(PLAN, "papers", given=set(), endpoint=True)
    for name, wrong in (("labels", "2-vs-1"), ("scaling", "none"), ("selection", "best")):
        with pytest.raises(InputError, match=f"unknown {name} '{wrong}'"):
            RunPlan(model="m", questions="facts", **{name: wrong}).check()  # type: ignore[arg-type]


def test_the_plan_and_the_fit_have_the_same_defaults() -> None:
    defaults = signature(fit_detector).parameters
    assert (PLAN.labels, PLAN.scaling) == (defaults["labels"].default, defaults["columns"].default)
