"""Optuna's samplers on the functions of `driver/examples/search_quality.rs`: the regrets as a JSON line."""

import json
import math
import sys
import time
import warnings

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore")

A = [
    [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
    [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
    [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
    [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
]
P = [
    [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
    [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
    [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
    [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
]
ALPHA = [1.0, 1.2, 3.0, 3.2]


def branin(trial: optuna.Trial) -> float:
    a, b = trial.suggest_float("x0", -5.0, 10.0), trial.suggest_float("x1", 0.0, 15.0)
    bowl = b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6
    return bowl**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10 - 0.39788735772973816


def hartmann6(trial: optuna.Trial) -> float:
    x = [trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(6)]
    terms = (
        alpha * math.exp(-sum(a * (v - p) ** 2 for a, v, p in zip(row, x, point, strict=True)))
        for alpha, row, point in zip(ALPHA, A, P, strict=True)
    )
    return 3.322368011415514 - sum(terms)


def ackley5(trial: optuna.Trial) -> float:
    x = [trial.suggest_float(f"x{i}", -32.768, 32.768) for i in range(5)]
    square = sum(v * v for v in x) / 5
    wave = sum(math.cos(2 * math.pi * v) for v in x) / 5
    return -20 * math.exp(-0.2 * math.sqrt(square)) - math.exp(wave) + 20 + math.e


def mixed(trial: optuna.Trial) -> float:
    model = trial.suggest_categorical("model", ["linear", "tree", "net"])
    decay = 0.02 * (math.log10(trial.suggest_float("decay", 1e-6, 1e-1, log=True)) + 3) ** 2
    if model == "linear":
        return 0.3 + (trial.suggest_float("ratio", 0.0, 1.0) - 0.3) ** 2 + decay
    if model == "tree":
        depth, leaf = trial.suggest_int("depth", 1, 16), trial.suggest_int("leaf", 1, 64, log=True)
        return 0.15 + 0.0025 * (depth - 9) ** 2 + 0.05 * math.log(leaf / 5) ** 2 + decay
    lr = math.log10(trial.suggest_float("lr", 1e-5, 1.0, log=True) / 0.003)
    width = math.log2(trial.suggest_int("width", 8, 512, log=True) / 128)
    dropout = trial.suggest_float("dropout", 0.0, 0.8, step=0.1)
    return 0.1 * lr**2 + 0.025 * width**2 + 0.05 * lr * width + 0.5 * (dropout - 0.3) ** 2 + decay


FUNCTIONS = {"branin": branin, "hartmann6": hartmann6, "ackley5": ackley5, "mixed": mixed}


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if name == "tpe_multivariate":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    return optuna.samplers.CmaEsSampler(seed=seed)


def regret(function: str, name: str, seed: int, evaluations: int) -> tuple[float, float]:
    """The best after so many evaluations, and the milliseconds of the last suggestion."""
    study = optuna.create_study(sampler=sampler(name, seed))
    for _ in range(evaluations):
        trial = study.ask()
        begin = time.perf_counter()
        # Sampling is lazy in part: the function's own microseconds are in this time.
        value = FUNCTIONS[function](trial)
        last = time.perf_counter() - begin
        study.tell(trial, value)
    return study.best_value, last * 1e3


def main() -> None:
    given = json.loads(sys.stdin.read())
    found = [
        regret(given["function"], given["sampler"], seed, given["evaluations"])
        for seed in range(given["seeds"])
    ]
    print(json.dumps({"regrets": [f[0] for f in found], "suggest_ms": [f[1] for f in found]}))


if __name__ == "__main__":
    main()
