"""Linear models that a network has to beat, fitted on the training side of a fold."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Strengths of ridge's penalty, chosen by leave-one-out inside the training side.
PENALTIES = np.logspace(-2, 4, 13)
#: scikit-learn's own strength of the logistic penalty, on standardised columns.
STRENGTH = 1.0
#: No probability is stated nearer to nothing than this, so that its logarithm stays finite.
SUREST = 1e-12


def ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Ridge regression: values of new rows, ``(m,)``.

    Args:
        x: ``(n, columns)``, NaN where not known.
        y: ``(n,)``.
        new: ``(m, columns)``.
    """
    from sklearn.linear_model import RidgeCV

    return _pipeline(RidgeCV(alphas=PENALTIES)).fit(x, y).predict(new)


def logistic(x: np.ndarray, y: np.ndarray, new: np.ndarray, levels: int) -> np.ndarray:
    """Logistic regression with levels weighed evenly: log probabilities of new rows, ``(m, levels)``.

    Where training has one level only, how often it occurred is all there is to say. Arguments as in `ridge`.
    """
    from sklearn.linear_model import LogisticRegression

    answer = np.full((len(new), levels), np.log(0.5 / (len(y) + 1)))
    seen = np.unique(y)
    if len(seen) == 1:
        answer[:, seen[0]] = np.log((len(y) + 0.5) / (len(y) + 1))
        return answer
    model = _pipeline(LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=2000)).fit(x, y)
    answer[:, seen] = np.log(np.clip(model.predict_proba(new), SUREST, 1))
    return answer


def _pipeline(model: Any) -> Any:
    """Medians and scales of the training side alone, then the model."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), model)
