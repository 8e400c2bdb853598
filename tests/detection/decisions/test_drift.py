"""The alarm goes off where answers come from elsewhere, and hardly ever where they do not."""

import math

import numpy as np
import pytest

from hneurons.detection.assessment import Assessment
from hneurons.detection.decisions.abstention import guarantee_precision
from hneurons.detection.decisions.deciding import Decisions
from hneurons.detection.decisions.drift import LEVEL, DriftMonitor, Reference, Seen, describe_drift, make_reference
from hneurons.detection.decisions.labelled import LabelledScore, LabelledScores
from support.drifting import HARDER, HOME, NEURONS, OTHER, Domain, log_odds, watch


def fired(domain: Domain, draws: int) -> float:
    return sum(watch(domain, reference=150, new=120, seed=seed).alarm for seed in range(draws)) / draws


@pytest.mark.slow
@pytest.mark.parametrize("domain", [HARDER, OTHER], ids=["other scores", "other neurons"])
def test_another_domain_raises_the_alarm_in_nine_of_ten_draws(domain: Domain) -> None:
    assert fired(domain, 100) >= 0.9


@pytest.mark.slow
def test_the_same_domain_raises_it_in_at_most_one_of_ten() -> None:
    assert fired(HOME, 100) <= 0.1


def test_neurons_tell_a_domain_whose_log_odds_are_the_same() -> None:
    found = watch(OTHER, reference=150, new=120, seed=0)
    assert found.alarm and found.contributions >= 1 / LEVEL > found.scores


def test_a_change_on_the_way_is_seen_after_it_and_reading_on_does_not_forget_it() -> None:
    found = watch(HARDER, reference=300, new=240, seed=1, change=lambda i: i >= 120)
    assert found.since > 120
    again = watch(HARDER, reference=300, new=240, seed=1, change=lambda i: 120 <= i < 200)
    assert again.since == found.since and again.answers == 240


def test_ranks_of_a_constant_bet_on_nothing() -> None:
    """All values tie, so that ranks are by lot alone."""
    monitor = DriftMonitor(Reference((0.0,) * 100))
    found = monitor.read(Seen(0.0) for _ in range(200))
    assert not found.alarm and math.isnan(found.contributions)


def test_a_rank_is_one_of_equal_parts_on_average_and_each_bet_is_fair() -> None:
    """The mean wealth after a step is 1 over every place the next value may take."""
    wealths = []
    for place in np.linspace(0.5, 20.5, 2001)[:-1]:
        monitor = DriftMonitor(Reference(tuple(float(i) for i in range(1, 21))), seed=int(place * 100))
        wealths.append(monitor.read([Seen(float(place))]).scores)
    assert min(wealths) >= 1.0 and np.mean(wealths) < 1.6  # the largest wealth so far, which begins with 1


def test_a_small_reference_and_unknown_contributions_tell_nothing() -> None:
    assert not DriftMonitor(Reference((0.0,) * 19)).works
    reference = make_reference(np.arange(90.0), None, np.arange(90) % 3 == 0)
    assert reference.distances == () and math.isnan(reference.distance([1.0]))
    few = make_reference(np.arange(30.0), np.zeros((30, 4)), np.arange(30) % 3 == 0)
    assert few.centre == ()


def test_distances_are_those_of_a_naive_mean_and_leave_constant_neurons_out() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(size=(90, 3))
    known[:, 1] = 5.0
    apart = np.arange(90) % 3 == 0
    reference = make_reference(known.sum(axis=1), known, apart)
    centre, spread = known[apart].mean(axis=0), known[apart].std(axis=0)
    row = known[1]
    naive = np.mean([abs(row[j] - centre[j]) / spread[j] for j in (0, 2)])
    assert reference.distance(row.tolist()) == pytest.approx(naive) == reference.distances[0]
    assert len(reference.distances) == 60 == len(reference.log_odds)


def as_rows(contributions: np.ndarray) -> list[Assessment]:
    values = zip(log_odds(contributions).tolist(), contributions.tolist(), strict=True)
    return [Assessment(f"{i}", s, 0.5, False, (0, 1), (), {}, False, contributions=tuple(c))
            for i, (s, c) in enumerate(values)]  # fmt: skip


def test_a_guarantee_is_void_for_answers_of_another_domain() -> None:
    rng = np.random.default_rng(0)
    known = HOME.draw(rng, 300)
    wrong = rng.random(300) < 1 / (1 + np.exp(-2 * log_odds(known)))
    rows = tuple(
        LabelledScore(f"{i}", f"{i}", float(s), bool(w), tuple(c))
        for i, (s, w, c) in enumerate(zip(log_odds(known), wrong, known.tolist(), strict=True))
    )
    decisions = Decisions(None, guarantee_precision(LabelledScores("home", "d", rows, {})))
    assert decisions.guarantee is not None and len(decisions.guarantee.reference.centre) == NEURONS
    monitors = [decisions.watch(as_rows(domain.draw(rng, 100))) for domain in (HOME, OTHER)]
    same, other = (monitor.state for monitor in monitors if monitor is not None)
    assert other.alarm and not same.alarm
    assert "The guarantee is void for them" in describe_drift(other, "home")
    assert "Nothing was seen that tells these 100 answers from those of home" in describe_drift(same, "home")
    assert Decisions().watch(as_rows(HOME.draw(rng, 9))) is None
