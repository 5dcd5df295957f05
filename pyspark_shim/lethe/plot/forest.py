"""How much each hyperparameter matters: permutation importance in a random forest.

L. Breiman, "Random Forests", Machine Learning 45 (2001), section 10; here on trials that the forest has not
seen, by cross-validation, so that what it has learnt by heart does not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lethe.errors import InstallError, LetheError
from lethe.plot.scale import scale
from lethe.plot.study import Study, Target

if TYPE_CHECKING:
    import numpy as np

#: With fewer trials there is nothing to learn.
LEAST = 10
#: Trials that are looked at; of more, a sample.
MOST = 2000
FOLDS, _TREES, _REPEATS, _SEED = 5, 100, 10, 0


@dataclass(frozen=True)
class Importance:
    """names: of the hyperparameters, the most important first. means: by how much the squared error of the
    predicted ranks grows when the hyperparameter is shuffled, as a share of their variance: 0 where it does
    not matter. deviations: of the means of the folds. explained: the share of the variance that the forest
    explains, R²; below 0 where it is worse than none. trials: that were looked at."""

    names: list[str]
    means: list[float]
    deviations: list[float]
    explained: float
    trials: int


def importance(study: Study, target: Target) -> Importance:
    """Of the trials' order by this metric: ranks are not moved by a few values that are far off, nor by its
    scale. A hyperparameter that a trial does not have is missing to the forest.

    Raises InstallError without scikit-learn, LetheError where there is too little to learn from.
    """
    try:
        import numpy as np
        from scipy.stats import rankdata
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.model_selection import KFold
    except ImportError:
        raise InstallError("plot.importance needs scikit-learn; run: pip install 'lethe[charts]'") from None
    if len(target.trials) < LEAST:
        raise LetheError(
            f"importance needs {LEAST} trials with a value of {target.metric}; {study.name} has "
            f"{len(target.trials)}"
        )
    if len(set(target.values)) == 1:
        raise LetheError(
            f"all trials of {study.name} have the same {target.metric}: nothing made a difference"
        )
    picked = np.random.default_rng(_SEED).permutation(len(target.trials))[:MOST]
    names, rows = _features(study, target)
    if not names:
        raise LetheError(f"no hyperparameter differs between the trials of {study.name}")
    features = np.array(rows, dtype=float)[picked]
    ranks = rankdata(np.array(target.values)[picked])
    ranks = (ranks - ranks.mean()) / ranks.std()
    random = np.random.default_rng(_SEED)
    errors, grown = [], []
    for train, test in KFold(FOLDS, shuffle=True, random_state=_SEED).split(features):
        forest = RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=_SEED)
        forest.fit(features[train], ranks[train])
        # As it is, and with each hyperparameter shuffled several times: asked at once, for calls are slow.
        asked = np.tile(features[test], (1 + _REPEATS * len(names), 1, 1))
        for place, rows in enumerate(asked[1:]):
            random.shuffle(rows[:, place % len(names)])
        found = forest.predict(asked.reshape(-1, len(names))).reshape(len(asked), -1)
        error = np.square(found - ranks[test]).mean(axis=1)
        errors.append(error[0] * len(test))
        grown.append((error[1:] - error[0]).reshape(_REPEATS, len(names)).mean(axis=0))
    folds: np.ndarray[Any, Any] = np.stack(grown)
    means, deviations = folds.mean(axis=0), folds.std(axis=0, ddof=1)
    order = np.argsort(-means, kind="stable")
    return Importance(
        [names[place] for place in order],
        means[order].tolist(),
        deviations[order].tolist(),
        float(1 - sum(errors) / len(ranks)),
        len(ranks),
    )


def _features(study: Study, target: Target) -> tuple[list[str], list[list[float]]]:
    """The hyperparameters in which trials differ, and a row of their places for each trial."""
    columns = {}
    for name in study.hparams:
        having = [trial.hparams[name] for trial in target.trials if name in trial.hparams]
        if not having:
            continue
        own = scale(study.space.get(name), having)
        column = [own.place(t.hparams[name]) if name in t.hparams else math.nan for t in target.trials]
        if len({value for value in column if not math.isnan(value)}) > 1 or len(having) < len(column):
            columns[name] = column
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]
