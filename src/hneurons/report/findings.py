"""What a run's numbers say and what they do not, as sentences made from the numbers alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hneurons.core.stats import Estimate
from hneurons.core.wording import count, interval, listing, number
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import DETECTOR, FLOOR, DatasetResult, few_answers
from hneurons.detection.fitting import STABLE, doubt_signal
from hneurons.detection.like_for_like import LIKE_FOR_LIKE
from hneurons.runs.plan import RunPlan

Summaries = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Dataset -> stage -> the counts of that finished stage."""

INVENTED = "invented against real"
_FEW = 100  # answers per class below which an interval says little
_NAMED = 4  # scores that a sentence names; more are counted
_TELLING = 0.6  # AUROC from which a leak check has something to tell


def read_difference(difference: Estimate | None) -> str:
    """A difference in AUROC in words: only an interval wholly on one side of 0 tells two methods apart."""
    if difference is None or not math.isfinite(difference.low):
        return ""
    if difference.low > 0:
        return f"better by {interval(difference)}"
    if difference.high < 0:
        return f"worse by {interval(_negative(difference))}"
    return f"not distinguishable: {interval(difference)}"


def _negative(difference: Estimate) -> Estimate:
    return Estimate(-difference.value, -difference.high, -difference.low, difference.n)


def is_testable(result: DatasetResult) -> bool:
    """Whether both classes are there, without which there is no AUROC."""
    return math.isfinite(result.detector.auroc.value)


def _rivals(result: DatasetResult) -> dict[str, Estimate]:
    """What the detector has to beat (chance, each rival score): its AUROC less theirs."""
    area = result.detector.auroc
    found = {"chance": Estimate(area.value - 0.5, area.low - 0.5, area.high - 0.5, area.n)}
    others = (d for d in result.differences if d.method == DETECTOR and d.against not in LIKE_FOR_LIKE)
    return found | {d.against: d.auroc for d in others}


def describe_result(detector: Detector, result: DatasetResult) -> str:
    """The main result in one sentence."""
    neurons, area = detector.neuron_set(), result.detector.auroc
    negative = len(detector.columns) - len(neurons)
    who = f"{count(len(neurons), 'H-neuron')} ({1000 * neurons.share:.2g} per mille of all FFN neurons)"
    who += f" and {negative} of negative weight" if negative else ""
    if not len(detector.columns):
        return "No neuron was selected at the chosen penalty: there is no detector, every answer gets the same odds."
    if not is_testable(result):
        rate = result.detector.accuracy
        return (
            f"{result.right} right and {result.wrong} wrong answers of {result.name} were located, so nothing can be "
            f"said about telling them apart; the detector is right on {100 * rate.value:.1f}% of them."
        )
    reach = "reaches" if len(detector.columns) == 1 else "reach"
    parts = [
        f"{who} {reach} AUROC {interval(area)} in telling wrong from right answers to unseen {result.name} questions"
    ]
    area_of = {s.method: s.auroc for s in result.scores}
    for random, difference in result.like_for_like[:1]:
        mean, low, high = random.auroc
        if not math.isfinite(mean):
            continue
        parts.append(
            f"{difference.method}, {'it reaches' if random.size == 1 else 'they reach'} "
            f"{number(area_of[difference.method].value)}, {count(random.size, 'random neuron')} fitted alike "
            f"{number(mean)} on average ({number(low)} to {number(high)})"
        )
    rivals = [s for s in result.scores if s.method not in (DETECTOR, *LIKE_FOR_LIKE)]
    if len(rivals) > _NAMED:
        strongest = max(rivals, key=lambda s: s.auroc.value)
        parts.append(f"of {len(rivals)} other scores the strongest, '{strongest.method}', reaches ")
        parts[-1] += number(strongest.auroc.value)
    else:
        parts += [f"{s.method} alone reaches {s.auroc.value:.3f}" for s in rivals]
    doubt = doubt_signal(detector)
    return (f"{doubt} " if doubt else "") + "; ".join(parts) + "."


def state_verdict(detector: Detector, result: DatasetResult | None) -> str:
    """The result in one short sentence: what the detector beats, and what it is not shown to beat."""
    if not len(detector.columns):
        return "No neuron was selected, so there is no detector."
    if result is None:
        return "No test set could be evaluated, so nothing is known about this detector."
    if not is_testable(result):
        return f"Nothing can be said yet: answers of both classes are needed, and {result.name} has one class only."
    found = _rivals(result)
    if result.like_for_like:
        found["as many random neurons fitted alike"] = result.like_for_like[0][1].auroc
    better = _name_some(result, [name for name, d in found.items() if d.low > 0])
    other = _name_some(result, [name for name, d in found.items() if not d.low > 0])
    doubt = doubt_signal(detector)
    on = (f"{doubt} " if doubt else "") + f"On unseen {result.name} questions the detector is"
    if not better:
        return f"{on} not shown to be better than {listing(other)}."
    return f"{on} better than {listing(better)}" + (f", but not than {listing(other)}." if other else ".")


def _name_some(result: DatasetResult, names: Sequence[str]) -> list[str]:
    """Names for a short sentence: many scores are counted, and the strongest of them is named."""
    area_of = {s.method: s.auroc.value for s in result.scores}
    scores = [name for name in names if name in area_of]
    if len(scores) <= _NAMED:
        return list(names)
    strongest = max(scores, key=lambda name: area_of[name])
    return [*(n for n in names if n not in area_of), f"{len(scores)} other scores ('{strongest}' the strongest)"]


def judge_result(result: DatasetResult) -> str:
    """Which of its rivals the detector beats and by how much, and which it does not; null results first."""
    if not is_testable(result):
        return f"{result.right} right and {result.wrong} wrong answers were located: both classes are needed."
    if not result.differences:
        return (
            "This evaluation was made by an earlier version, which did not compare methods answer by answer: delete "
            "its folder 'evaluation' and run 'evaluate' again."
        )
    found = _rivals(result)
    parts = [
        ("worse than", [f"{name} by {interval(_negative(d))}" for name, d in found.items() if d.high < 0]),
        ("not distinguishable from", [f"{name} ({interval(d)})" for name, d in found.items() if d.low <= 0 <= d.high]),
        ("better than", [f"{name} by {interval(d)}" for name, d in found.items() if d.low > 0]),
    ]
    said = f"The detector is {'; '.join(f'{words} {listing(names)}' for words, names in parts if names)}."
    for random, difference in result.like_for_like:
        fair = read_difference(difference.auroc)
        drawn = f"{count(random.size, 'random neuron')} fitted alike, on average of {random.draws} draws"
        said += f" {difference.method[:1].upper()}{difference.method[1:]}, against {drawn}: {fair}." if fair else ""
    return said


def list_caveats(
    plan: RunPlan, detector: Detector, results: Mapping[str, DatasetResult], summaries: Summaries
) -> list[str]:
    """What the numbers do not show, from facts of this run."""
    return [
        *_about_training(plan, summaries),
        *_about_detector(detector),
        *_about_results(list(results.values()), summaries),
        "Right and wrong are balanced by design, so accuracies and thresholds do not carry over to a natural mix of "
        "answers. Abstentions and unscored answers are in neither class.",
        "Detection is not control: nothing here says that these neurons cause wrong answers.",
    ]


def _about_training(plan: RunPlan, summaries: Summaries) -> list[str]:
    found = []
    train = summaries.get("train", {})
    asked, kept = train.get("responses", {}).get("asked"), train.get("examples", {}).get("consistent")
    if asked and kept:
        early = train["responses"].get("stopped_early")
        found.append(
            f"Of {asked} questions asked, {kept['right']} ({100 * kept['right'] / asked:.1f}%) were found consistently "
            f"right and {kept['wrong']} consistently wrong: what was learned is about these, not about answers that "
            "waver." + (" Sampling stops early where it can, so these are not rates." if early else "")
        )
    if train.get("responses", {}).get("recorded"):
        found.append(
            "The answers were recorded, not drawn here: that this model gave them to these prompts is taken on trust."
        )
    if plan.min_agreement is not None and plan.min_agreement < plan.n:
        found.append(
            f"Consistent means {plan.min_agreement} of {plan.n} samples here, not all as in the paper: "
            "some examples are answers the model does not always give."
        )
    if plan.temperature != 1:
        found.append(
            f"Samples were drawn at temperature {plan.temperature:g}, not 1: agreement is easier to reach and says "
            "less about what the model knows."
        )
    if plan.shots:
        found.append(
            f"Every question comes after {count(plan.shots, 'example')}: neurons are measured in that format, and may "
            "differ without it."
        )
    verdicts = train.get("verdicts", {})
    if plan.judge == "alias" and verdicts.get("given", 0) < verdicts.get("responses", 1):
        found.append("Text rules decide what is right: an answer the aliases do not know counts as wrong.")
    return found


def _about_detector(detector: Detector) -> list[str]:
    found = []
    neurons, settings = detector.neuron_set(), detector.settings
    known = [p for p in neurons.selection_probability.tolist() if math.isfinite(p)]
    if len(neurons) and not known:
        found.append("Selection probabilities were not measured: nothing says how stable this set of neurons is.")
    stable = sum(p >= STABLE for p in known)
    if stable < len(known):
        found.append(
            f"{stable or 'None'} of {count(len(known), 'H-neuron')} reached a selection probability of {STABLE}: those "
            "below it may be replaced by neighbours when the questions change."
        )
    path = settings.get("path", [])
    if settings.get("edge", len(path) > 1 and settings.get("chosen") == len(path) - 1):
        reason = settings.get("edge") or "it is the smallest tried"
        found.append(f"The chosen penalty lies on the edge of the path ({reason}): another might do better still.")
    if settings.get("stopped"):
        found.append(f"The path of penalties ended early: {settings['stopped']}.")
    return found


def _about_results(results: Sequence[DatasetResult], summaries: Summaries) -> list[str]:
    found = []
    invented = [r.name for r in results if summaries.get(r.name, {}).get("examples", {}).get("contrast") == INVENTED]
    if invented:
        found.append(
            f"{listing(invented)}: questions about invented things stand against questions about real ones, whose "
            "answers nobody checked. A score there may come from the question rather than from the answer."
        )
    found += [f"{r.name}: {said}." for r in results if (said := few_answers(r.right, r.wrong))]
    few = [f"{r.name} ({r.right} right, {r.wrong} wrong)" for r in results if min(r.right, r.wrong) < _FEW]
    if few:
        found.append(f"Few answers to test on, so wide intervals: {listing(few)}.")
    for method in ("question only", "answer length"):
        areas = {r.name: s.auroc.value for r in results for s in r.scores if s.method == method}
        telling = [f"{area:.3f} on {name}" for name, area in areas.items() if area >= _TELLING]
        if telling:
            found.append(
                f"{method.capitalize()} alone reaches AUROC {listing(telling)}: the detector may in part see that."
            )
    gaps = [(r.name, difference) for r in results for _, difference in r.like_for_like]
    level = [f"{d.method}, on {name} ({interval(d.auroc)})" for name, d in gaps if d.auroc.low <= 0]
    if level:
        found.append(
            "Fitted in the same way, the detector's neurons are not shown to be better than as many random ones: the "
            f"difference in AUROC is, for {listing(level)}."
        )
    cut = {r.name: summaries.get(r.name, {}).get("examples", {}).get("dropped", {}).get("truncated") for r in results}
    if any(cut.values()):
        left_out = listing([f"{number} of {name}" for name, number in cut.items() if number])
        found.append(f"Answers cut off at the token limit are left out, and they may be the worse ones: {left_out}.")
    lost = [f"{r.not_located} of {r.name}" for r in results if r.not_located]
    if lost:
        found.append(f"Selected answers that could not be located are left out: {listing(lost)}.")
    return found


def explain_missing(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a dataset has no evaluation, from the counts of its finished stages."""
    if "spans" in stages:
        right, wrong = (stages["spans"]["found"][c] for c in ("right", "wrong"))
        if not right and not wrong:
            selected = stages["spans"]["examples"]
            return f"none of {selected} selected answers was located" if selected else "no answer was selected"
        if right + wrong < FLOOR:
            return f"{right} right and {wrong} wrong answers were located: nothing can be said from fewer than {FLOOR}"
        if not right or not wrong:
            return f"{right} right and {wrong} wrong answers were located: both classes are needed"
    for stage in ("responses", "verdicts", "examples", "spans", "contributions"):
        if stage not in stages:
            return f"its stage '{stage}' is not finished"
    return "it was not among the datasets evaluated"
