"""Optuna's samplers as optimizers, by Optuna's own ask-and-tell. Optuna is an extra: pip install
'lethe[optuna]'."""

from __future__ import annotations

import contextlib
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lethe.errors import ConfigError, InstallError
from lethe.optimizers.ask_tell import Optimizer, Trial
from lethe.space.domain import LISTED, Domain
from lethe.space.space import SearchSpace

if TYPE_CHECKING:
    import optuna as _optuna

    from lethe.search import Search


def optuna(sampler: _optuna.samplers.BaseSampler, *, allow_ahead: int | None = None) -> OptunaOptimizer:
    """Any sampler of Optuna as a search's optimizer:

        Search(space, trials=60, …, optimizer=lethe.optuna(optuna.samplers.TPESampler(seed=1)))

    Conditional parameters are suggested after their parents, as in Optuna's define-by-run; an ordinal is its
    values' numbers, an integer range. Trials that a stopping rule has ended are pruned ones. The sampler's
    seed is its own. A resumed search tells the sampler what was before, whose own random state begins anew.

    allow_ahead: trials asked for before they are needed; None: as many as there are slots.

    Raises InstallError without Optuna, ConfigError for what is no sampler.
    """
    return OptunaOptimizer(sampler, allow_ahead)


class OptunaOptimizer(Optimizer):
    """Made by `lethe.optuna`. `study`: the Optuna study that has the trials, once the search has begun: for
    `optuna.visualization` and `optuna.importance`."""

    def __init__(self, sampler: _optuna.samplers.BaseSampler, allow_ahead: int | None) -> None:
        try:
            import optuna
        except ImportError:
            raise InstallError("lethe.optuna needs Optuna; run: pip install 'lethe[optuna]'") from None
        if not isinstance(sampler, optuna.samplers.BaseSampler):
            raise ConfigError(
                f"lethe.optuna takes a sampler such as optuna.samplers.TPESampler(), not {sampler!r}"
            )
        self.allow_ahead, self._sampler = allow_ahead, sampler
        self.study: _optuna.Study | None = None
        self._space: SearchSpace | None = None
        self._metric = ""
        self._objectives = 1
        #: Optuna's trials that it has suggested and not been told of, by ours.
        self._asked: dict[int, _optuna.Trial] = {}

    @property
    def name(self) -> str:
        module = type(self._sampler).__module__
        # Optuna's own are in private modules.
        public = "optuna.samplers" if module.startswith("optuna.samplers") else module
        return f"{public}.{type(self._sampler).__qualname__}"

    def begin(self, search: Search) -> None:
        import optuna

        self._space, self._metric, self._objectives = search.space, search.metrics[0], len(search.metrics)
        self._asked.clear()
        words = {"max": "maximize", "min": "minimize"}
        before = optuna.logging.get_verbosity()
        # "A new study was created" is no news to a user of ours.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self.study = optuna.create_study(
                sampler=self._sampler, directions=[words[direction] for direction in search.directions]
            )
        finally:
            optuna.logging.set_verbosity(before)

    def ask(self, trial: int) -> dict[str, Any] | None:
        import optuna

        study, space = self._begun()
        refused = self._asked.pop(trial, None)
        if refused is not None:
            # A constraint did not allow it: a failed trial teaches samplers nothing.
            study.tell(refused, state=optuna.trial.TrialState.FAIL)
        exhausted = getattr(self._sampler, "is_exhausted", None)
        if exhausted is not None and exhausted(study):
            return None
        asked = self._asked[trial] = study.ask()
        found: dict[str, Any] = {}
        for name in space.order:
            domain = space[name]
            condition = domain.condition
            if condition is None or (condition.parent in found and condition.allows(found[condition.parent])):
                found[name] = decoded(domain, suggest(asked, name, domain))
        return found

    def tell(self, trial: Trial) -> None:
        import optuna

        study, _ = self._begun()
        state = self._state(trial)
        values = list(trial.values) if state == optuna.trial.TrialState.COMPLETE else None
        curve = {} if self._objectives > 1 else self._curve(trial)
        asked = self._asked.pop(trial.number, None)
        if asked is None:
            self._add(trial, state, values, curve)
            return
        for epoch, value in curve.items():
            asked.report(value, epoch)
        # GridSampler asks a running `optimize` to stop; there is none.
        with contextlib.suppress(RuntimeError):
            study.tell(asked, values, state=state)

    def _add(
        self,
        trial: Trial,
        state: _optuna.trial.TrialState,
        values: list[float] | None,
        curve: dict[int, float],
    ) -> None:
        """A trial that the sampler did not suggest."""
        import optuna

        study, space = self._begun()
        hparams = {name: value for name, value in trial.hparams.items() if name in space}
        if state == optuna.trial.TrialState.PRUNED and curve:
            values = [curve[max(curve)]]
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                values=values,
                params={name: encoded(space[name], value) for name, value in hparams.items()},
                distributions={name: distribution(space[name]) for name in hparams},
                intermediate_values=curve,
            )
        )

    def _state(self, trial: Trial) -> _optuna.trial.TrialState:
        import optuna

        states = optuna.trial.TrialState
        whole = len(trial.values) == self._objectives and not any(map(math.isnan, trial.values))
        # Optuna knows no pruning with several objectives.
        if whole and (trial.state == "finished" or (trial.state == "stopped" and self._objectives > 1)):
            return states.COMPLETE
        return states.PRUNED if trial.state == "stopped" and self._objectives == 1 else states.FAIL

    def _curve(self, trial: Trial) -> dict[int, float]:
        return {
            epoch: metrics[self._metric]
            for epoch, metrics in trial.history.items()
            if self._metric in metrics
        }

    def _begun(self) -> tuple[_optuna.Study, SearchSpace]:
        assert self.study is not None, "begin comes first"
        assert self._space is not None
        return self.study, self._space


def suggest(asked: _optuna.Trial, name: str, domain: Domain) -> Any:
    """The sampler's value of this parameter, as Optuna has it."""
    low, high = bounds(domain)
    if domain.kind == "choice":
        return asked.suggest_categorical(name, _categories(domain))
    if domain.continuous:
        step = None if domain.step is None else float(domain.step)
        return asked.suggest_float(name, low, high, step=step, log=domain.kind == "log_uniform")
    return asked.suggest_int(name, int(low), int(high), step=int(domain.step or 1), log=domain.log)


def distribution(domain: Domain) -> _optuna.distributions.BaseDistribution:
    """The same for a trial that the sampler did not suggest."""
    from optuna import distributions

    low, high = bounds(domain)
    if domain.kind == "choice":
        return distributions.CategoricalDistribution(_categories(domain))
    if domain.continuous:
        step = None if domain.step is None else float(domain.step)
        return distributions.FloatDistribution(low, high, domain.kind == "log_uniform", step)
    return distributions.IntDistribution(int(low), int(high), domain.log, int(domain.step or 1))


def bounds(domain: Domain) -> tuple[float, float]:
    """Of a number, or of an ordinal's values by their numbers. The upper one is a whole number of steps above
    the lower: Optuna warns of others."""
    if domain.kind in LISTED:
        return 0, len(domain.values) - 1
    assert domain.low is not None
    assert domain.high is not None
    if domain.step is None:
        return domain.low, domain.high
    # In decimals, as they were written: in binary 0.1 goes 9 times, not 10, into 0.99999….
    low, high, step = (Decimal(str(number)) for number in (domain.low, domain.high, domain.step))
    return domain.low, type(domain.high)(low + (high - low) // step * step)


def _categories(domain: Domain) -> list[Any]:
    """The values as Optuna can tell them apart; else their numbers."""
    simple = all(value is None or isinstance(value, bool | int | float | str) for value in domain.values)
    if simple and len(set(domain.values)) == len(domain.values):
        return list(domain.values)
    return list(range(len(domain.values)))


def decoded(domain: Domain, found: Any) -> Any:
    """Our value for Optuna's."""
    if domain.kind == "ordinal":
        return domain.values[found]
    if domain.kind == "choice":
        return domain.values[_categories(domain).index(found)]
    return found


def encoded(domain: Domain, value: Any) -> Any:
    """Optuna's value for ours."""
    own = domain.find(value)
    if domain.kind not in LISTED:
        return own
    place = next(place for place, known in enumerate(domain.values) if known is own)
    return place if domain.kind == "ordinal" else _categories(domain)[place]
