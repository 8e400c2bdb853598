"""Maps from a detector's log odds to probabilities: a shift, Platt's, beta and isotonic calibration."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import InputError
from hneurons.core.rows import Row

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Method = Literal["shift", "platt", "beta", "isotonic"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, slots=True)
class Calibrator(Row):
    """A non-decreasing map from log odds to the probability that an answer is wrong.

    With s the log odds, ln p = -log(1 + exp(-s)) and ln(1 - p) = -log(1 + exp(s)), the calibrated log odds are

    - `shift`: s + parameters[0], which moves the threshold and leaves the weights as they are;
    - `platt`: parameters[0] s + parameters[1] (Platt 1999);
    - `beta`: parameters[0] ln p - parameters[1] ln(1 - p) + parameters[2] (Kull et al. 2017);
    - `isotonic`: probabilities interpolated between `knots` of (log odds, probability) (Zadrozny and Elkan 2002).

    `prior` is added to the calibrated log odds, for data with another error rate. Slopes are at least 0: where a fit
    would fall, as for a detector that ranks answers the wrong way round, the map is flat.
    """

    method: Method
    parameters: tuple[float, ...] = ()
    knots: tuple[tuple[float, float], ...] = ()
    prior: float = 0.0

    def __post_init__(self) -> None:
        if self.method in ("platt", "beta") and min(self.parameters[:-1], default=0.0) < 0:
            raise ValueError(f"the map falls where the log odds rise: its slopes are {self.parameters[:-1]}")

    @property
    def flat(self) -> bool:
        """Whether every answer gets the same probability."""
        if self.method == "isotonic":
            return len({value for _, value in self.knots}) == 1
        return self.method != "shift" and not any(self.parameters[:-1])

    def probability(self, log_odds: Floats) -> Floats:
        """Probabilities of a wrong answer, float64 [rows]."""
        from scipy.special import expit, logit

        s = np.asarray(log_odds, dtype=np.float64)
        if self.method == "isotonic":
            places, values = np.array(self.knots).T
            odds = logit(np.interp(s, places, values))
        elif self.method == "beta":
            odds = _beta_features(s) @ np.array(self.parameters[:2]) + self.parameters[2]
        else:
            slope, offset = (1.0, *self.parameters) if self.method == "shift" else self.parameters
            odds = slope * s + offset
        return np.asarray(expit(odds + self.prior))

    def restated(self, natural: float, error_rate: float) -> "Calibrator":
        """The same map for data with another error rate, if the scores within each class are alike.

        The calibrated log odds move by logit(error_rate) - logit(natural) (Saerens et al. 2002).
        """
        return replace(self, prior=_logit(error_rate) - _logit(natural))


def fit_calibrator(method: Method, log_odds: Floats, wrong: Bools) -> Calibrator:
    """Fit a map on log odds [rows] and labels [rows] that hold both classes. Raises `InputError` for another method.

    All but the isotonic map use Platt's smoothed targets, so that classes that do not overlap give finite parameters.
    """
    if method not in METHODS:
        raise InputError(f"unknown calibration '{method}': known are {', '.join(METHODS)}")
    s = np.asarray(log_odds, dtype=np.float64)
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(s, wrong)
        places, values = fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()
        return Calibrator(method, knots=tuple(zip(places, values, strict=True)))
    if method == "shift":
        return Calibrator(method, (_fit_shift(s, wrong),))
    if method == "platt":
        return Calibrator(method, _fit_rising(s[:, None], wrong))
    return Calibrator(method, _fit_beta(s, wrong))


def _targets(wrong: Bools) -> Floats:
    """Platt's targets: what labels say, drawn in by one answer of each class."""
    n1 = int(wrong.sum())
    return np.where(wrong, (n1 + 1) / (n1 + 2), 1 / (len(wrong) - n1 + 2))


def _fit_logistic(features: Floats, wrong: Bools) -> tuple[float, ...]:
    """Slopes and offset of a logistic regression without penalty on smoothed targets."""
    from sklearn.linear_model import LogisticRegression

    targets, n = _targets(wrong), len(wrong)
    centre, scale = features.mean(axis=0), np.where(features.std(axis=0) > 0, features.std(axis=0), 1.0)
    both = np.concatenate([(features - centre) / scale] * 2)
    labels = np.repeat([True, False], n)
    model = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000)
    model.fit(both, labels, sample_weight=np.concatenate([targets, 1 - targets]))
    slopes = model.coef_[0] / scale
    return (*slopes.tolist(), float(model.intercept_[0] - slopes @ centre))


def _fit_rising(feature: Floats, wrong: Bools) -> tuple[float, float]:
    """Slope and offset on one feature [rows, 1]; where the slope would be negative, 0 and the best offset."""
    slope, offset = _fit_logistic(feature, wrong)
    return (slope, offset) if slope >= 0 else (0.0, _logit(float(_targets(wrong).mean())))


def _fit_shift(s: Floats, wrong: Bools) -> float:
    """The offset at which the mean probability is the mean target, which maximises the likelihood."""
    from scipy.optimize import brentq
    from scipy.special import expit

    wanted, reach = float(_targets(wrong).mean()), float(np.abs(s).max()) + 50
    return float(brentq(lambda offset: float(expit(s + offset).mean()) - wanted, -reach, reach))


def _beta_features(s: Floats) -> Floats:
    return np.stack([-np.logaddexp(0, -s), np.logaddexp(0, s)], axis=-1)


def _fit_beta(s: Floats, wrong: Bools) -> tuple[float, float, float]:
    """Both slopes at least 0: one that would be negative is left out (Kull et al. 2017, section 4)."""
    features = _beta_features(s)
    a, b, c = _fit_logistic(features, wrong)
    if a < 0:
        b, c = _fit_rising(features[:, 1:], wrong)
        a = 0.0
    elif b < 0:
        a, c = _fit_rising(features[:, :1], wrong)
        b = 0.0
    return a, b, c


def _logit(rate: float) -> float:
    return math.log(rate / (1 - rate))
