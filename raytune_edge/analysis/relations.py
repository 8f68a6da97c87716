"""Which settings matter: correlation and importance of each config column for each target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from raytune_edge.analysis.experiment import Results
from raytune_edge.analysis.frame import CONFIG, to_frame

__all__ = ["correlations", "importance", "ratio_columns"]

TARGETS = ("latency_p50_ms", "top1")
_FEWEST = 4


def correlations(
    results: Results,
    *,
    targets: Sequence[str] = TARGETS,
    method: Literal["pearson", "spearman"] = "pearson",
) -> pd.DataFrame:
    """Correlation of each numeric config column with each target, over trials that know both.

    Returns:
        Indexed by config name (without its prefix), a column for each target with values in
        [-1, 1], and ``n``: in how many trials the setting and the first target are known. NaN
        where either does not vary.

    >>> import pandas as pd
    >>> trials = pd.DataFrame({"config/pruning_ratio:a": [0.1, 0.2, 0.3, 0.4],
    ...                        "latency_p50_ms": [0.9, 0.8, 0.7, 0.6], "top1": [0.9] * 4})
    >>> correlations(trials)
                     latency_p50_ms  top1  n
    pruning_ratio:a            -1.0   NaN  4
    """
    frame = to_frame(results)
    settings = _numeric(frame)
    table = pd.DataFrame(
        {
            target: [_correlation(settings[name], frame[target], method) for name in settings]
            for target in targets
        },
        index=_short(settings.columns),
        dtype="float64",
    )
    known = frame[targets[0]].notna()
    table["n"] = [int((settings[name].notna() & known).sum()) for name in settings]
    return table


def importance(
    results: Results, *, targets: Sequence[str] = TARGETS, seed: int = 0
) -> pd.DataFrame:
    """How much of each target a random forest explains by each setting; each column sums to 1.

    Settings that are text count as one, whatever values they take. A target that fewer than four
    trials know, or that does not vary, is NaN throughout.

    Source: mean decrease in impurity, Breiman, "Random Forests", 2001; W&B's parameter importance
    is the same.
    """
    frame = to_frame(results)
    settings = frame[_config_columns(frame)]
    settings = settings.loc[:, settings.nunique() > 1]
    inputs, owners = _encoded(settings)
    table = pd.DataFrame(index=_short(settings.columns), columns=list(targets), dtype="float64")
    for target in targets:
        known = frame[target].notna()
        if inputs.shape[1] == 0 or known.sum() < _FEWEST or frame[target].nunique() < 2:
            continue
        shares = _forest_shares(inputs[known.to_numpy()], frame.loc[known, target], seed)
        table[target] = pd.Series(shares).groupby(owners).sum().reindex(settings.columns).to_numpy()
    return table.sort_values(targets[0], ascending=False) if len(table) else table


def ratio_columns(frame: pd.DataFrame) -> dict[str, str]:
    """Group name → the config column with the group's pruning ratio."""
    prefix = CONFIG + "pruning_ratio:"
    return {name.removeprefix(prefix): name for name in frame.columns if name.startswith(prefix)}


def _forest_shares(inputs: np.ndarray, target: pd.Series, seed: int) -> np.ndarray:
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(n_estimators=100, random_state=seed)
    return np.asarray(forest.fit(inputs, target).feature_importances_)


def _encoded(settings: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Settings as a matrix, text as one column a value; and whose setting each column is."""
    columns, owners = [], []
    for name in settings:
        if pd.api.types.is_numeric_dtype(settings[name]):
            numbers = settings[name].astype("float64")
            encoded = numbers.fillna(numbers.median()).to_frame()
        else:
            encoded = pd.get_dummies(settings[name].astype("str"), dtype="float64")
        columns.append(encoded.to_numpy())
        owners += [str(name)] * encoded.shape[1]
    return (np.hstack(columns) if columns else np.empty((len(settings), 0))), owners


def _correlation(first: pd.Series, second: pd.Series, method: str) -> float:
    known = first.notna() & second.notna()
    first, second = first[known].astype("float64"), second[known].astype("float64")
    if first.nunique() < 2 or second.nunique() < 2:
        return float("nan")
    if method == "spearman":
        first, second = first.rank(), second.rank()
    return float(np.corrcoef(first, second)[0, 1])


def _config_columns(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if name.startswith(CONFIG)]


def _numeric(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[_config_columns(frame)].select_dtypes(include=["number"])


def _short(columns: pd.Index) -> list[str]:
    return [str(name).removeprefix(CONFIG) for name in columns]
