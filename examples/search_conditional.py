"""A search with a conditional space, constraints, an optimizer, early stopping, resume and SQL.

    python examples/search_conditional.py               the local executor
    python examples/search_conditional.py --optuna      with a sampler of Optuna (pip install 'lethe[optuna]')

Run it twice: the second run goes on with the first one's trials, and adds as many again.
"""

import argparse

import pyarrow as pa
from sklearn.datasets import load_digits
from torch import nn

import lethe

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--optuna", action="store_true", help="suggest by Optuna's TPE sampler")
arguments.add_argument("--trials", type=int, default=20, help="more trials, each time it is run")
arguments.add_argument("--name", default="conditional")
options = arguments.parse_args()

# `momentum` exists only for optimizers that have one. The first constraint is evaluated in Rust, the second
# is any Python function.
space = lethe.SearchSpace(
    lethe.constraint("layers * width <= 512"),
    lethe.constraint(lambda h: h["momentum"] < 0.8 or h["lr"] < 0.05),
    lr=lethe.loguniform(1e-4, 1e-1, default=1e-3),
    optimizer=lethe.choice("adam", "sgd", "rmsprop", default="adam"),
    momentum=lethe.uniform(0.0, 0.95, step=0.05, default=0.9).when(optimizer=["sgd", "rmsprop"]),
    batch_size=lethe.ordinal(16, 32, 64, 128, default=32),
    layers=lethe.integer(1, 4, default=1),
    width=lethe.integer(16, 256, log=True, default=64),
)
print(space)
print("a random point:", space.sample(seed=1))


def model(hparams, inputs):
    layers, width = [], inputs
    for _ in range(hparams["layers"]):
        layers += [nn.Linear(width, hparams["width"]), nn.ReLU()]
        width = hparams["width"]
    return nn.Sequential(*layers, nn.Linear(width, 10))


images, labels = load_digits(return_X_y=True)
pixels = pa.array(list((images / 16).astype("float32")), pa.list_(pa.float32()))
table = pa.table({"pixels": pixels, "digit": pa.array(labels, pa.int64())})
digits = lethe.Dataset.from_arrow(table, features="pixels", label="digit").split(validation=0.2, seed=7)
train = lethe.Supervised(model=model, loss="cross_entropy", metrics=["accuracy"], epochs=9)

optimizer = lethe.TPE(startup=8)
if options.optuna:
    import optuna

    optimizer = lethe.optuna(optuna.samplers.TPESampler(seed=1))

try:
    before = len(lethe.open(options.name).trials)
except lethe.ConfigError:
    before = 0
search = lethe.Search(
    space,
    trials=before + options.trials,
    metric="accuracy",
    direction="max",
    optimizer=optimizer,
    stopping=lethe.Hyperband(reduction=3),
    enqueue=[{"lr": 3e-3, "width": 128}],
    seed=1,
)
result = lethe.lagom(train, digits, search, spark=False, name=options.name, resume=True)

print(f"trials before: {before}, now: {len(result.trials)}")
print(
    result.sql(
        "select state, count(*) as trials, max(value) as best from trials group by state order by state"
    )
)
print("why the best was tried:", result.trials.set_index("trial")["why"][result.best.trial])
