"""`lethe.lagom`: runs an experiment."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from lethe.application.application import Application
from lethe.application.registry import application
from lethe.dataset.columns import check_label
from lethe.dataset.dataset import Dataset
from lethe.dataset.placed import Placed
from lethe.dataset.preprocessing import PREPROCESSING, Preprocessing
from lethe.dataset.rebuild import Rebuild
from lethe.errors import ConfigError, DataError, LetheError
from lethe.experiment.adviser import Adviser
from lethe.experiment.interrupt import terminable
from lethe.experiment.plan import Folder, plan, tidy
from lethe.experiment.plan import folder as folder_of
from lethe.experiment.runner import Runner
from lethe.experiment.seed import trial_seed
from lethe.experiment.slots import count, slots_of
from lethe.progress import ProgressLine
from lethe.result.model import TrainedModel, fetch_weights
from lethe.result.result import Result
from lethe.result.sql import Tables
from lethe.search import Search
from lethe.session.base import Session
from lethe.session.find import active_session, session_of
from lethe.settings import Settings
from lethe.supervised import Registered, Supervised, check_search

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from lethe.experiment.prepare import Preparer


def lagom(
    train: Supervised | Registered,
    dataset: Dataset | None,
    experiment: Search,
    *,
    spark: SparkSession | Literal[False] | None = None,
    slots: int | None = None,
    name: str | None = None,
    directory: str | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    store: str | None = None,
    store_options: Mapping[str, str] | None = None,
    quiet: bool = False,
    settings: Settings | None = None,
) -> Result:
    """Runs the experiment and returns its result.

    train: what a trial does: `Supervised`, or `Registered` for a Rust function.
    dataset: what it is trained on; None for functions that need no data.
    experiment: `Search(...)`.
    spark: None takes the dataset's session, else the active one, and the local executor where there is none;
        a SparkSession takes that; False takes the local executor.
    slots: how many trials run at once. Default: as many as Spark has task slots (busy ones count); without
        Spark, cores.
    name: of the experiment, letters, digits, '-', '_' and '.'; by default made from the time.
    directory: the folder in which the experiment's folder is made. Default "lethe-runs".
    resume: go on with the experiment `name` of that directory (or of the store): finished trials are kept,
        those that ran restart from their last checkpoints, and a larger `trials`, `seconds` or `epochs`
        extends it. Where there is none it begins. What else differs from before is refused, with a list of
        the differences.
    accept_changes: resume it all the same.
    store: the URL of a folder in an object store ("s3://bucket/runs/digits", "gs://…", "az://…", "file:///…")
        that gets a copy of the experiment's folder as it grows: with it a search is resumed on another host.
    store_options: of the store, by the names of the crate object_store ("aws_endpoint", …), beside those in
        the environment. They are written nowhere.
    quiet: neither a progress line nor a summary.
    settings: of Lethe's processes; see `Settings`.

    Ctrl-C cancels the experiment within seconds and returns what there is (`result.interrupted`); SIGTERM
    cancels it and raises `Terminated`. Raises a LetheError whose first line says what to do.
    """
    if not isinstance(train, Supervised | Registered):
        raise ConfigError(f"train must be lethe.Supervised(…), not {type(train).__name__}")
    if dataset is not None and not isinstance(dataset, Dataset):
        raise ConfigError(
            f"dataset must be a lethe.Dataset, not {type(dataset).__name__}; "
            "use Dataset.from_spark(df, …), from_files(urls, …) or from_arrow(table, …)"
        )
    if not isinstance(experiment, Search):
        raise ConfigError(f"experiment must be lethe.Search(…), not {type(experiment).__name__}")
    if slots is not None and (isinstance(slots, bool) or not isinstance(slots, int) or slots < 1):
        raise ConfigError(f"slots must be a whole number from 1, not {slots!r}")
    if isinstance(train, Supervised):
        _check_supervised(train, dataset, experiment)
    with terminable():
        owner = application(_session(spark, dataset), settings)
        folder = folder_of(
            name,
            directory,
            resume=resume,
            accept_changes=accept_changes,
            store=store,
            store_options=store_options,
        )
        return _run(owner, train, dataset, experiment, slots, folder, quiet)


def _check_supervised(train: Supervised, dataset: Dataset | None, search: Search) -> None:
    if dataset is None:
        raise ConfigError(
            "Supervised needs a dataset; use Dataset.from_spark(df, …), from_files(urls, …) or "
            "from_arrow(table, …)"
        )
    label, kind = dataset.label, dataset.label_type()
    if label is not None:
        # Of files, and after a query, the executors will tell.
        if kind is not None:
            check_label(label, kind, train.loss)
    elif train.loss is not None:
        raise DataError(
            f"the loss {train.loss} needs a label; name its column: Dataset.from_spark(df, features=…, "
            "label=…)"
        )
    check_search(train, search, dataset.has_validation)


def _session(spark: SparkSession | Literal[False] | None, dataset: Dataset | None) -> Session | None:
    own = None if dataset is None else dataset.session()
    if spark is False:
        if own is not None:
            raise ConfigError(
                "spark=False runs without Spark, and the dataset is a Spark DataFrame; "
                "use Dataset.from_arrow(df.toArrow(), …), or leave out spark=False"
            )
        return None
    if spark is None:
        return own or active_session()
    given = session_of(spark)
    if own is not None and own.key != given.key:
        raise ConfigError(
            "spark is another session than the dataset's; leave it out, or make the DataFrame with it"
        )
    return given


def _run(
    owner: Application,
    train: Supervised | Registered,
    dataset: Dataset | None,
    search: Search,
    slots: int | None,
    folder: Folder,
    quiet: bool,
) -> Result:
    preparer: Preparer | None = None
    runner: Runner | None = None
    loss = train.loss if isinstance(train, Supervised) else None
    placed = None if dataset is None else dataset.on(owner)
    try:
        if isinstance(train, Supervised) and placed is not None:
            from lethe.experiment.prepare import Preparer
            from lethe.model.inputs import inputs_of

            inputs = inputs_of(placed.describe(loss)["inputs"])
            # Where a run before this one has trained, its first module here may fail like any other.
            tried = folder.resumed and not folder.made and not folder.accept_changes
            preparer = Preparer(owner.peer, folder.name, train.model, train.loss, inputs, resumed=tried)
        elif placed is not None:
            placed.stored()
        number = count(owner.session, slots, search.trials, owner.settings.threads)
        data = None if placed is None else placed.spec(loss)
        message = plan(train, data, search, folder, number)
        adviser = Adviser.of(owner.peer, folder.name, search)
        held = slots_of(owner, folder.name, number)
        progress = ProgressLine(folder.name, search.trials, search.metrics[0], quiet)
        rebuild = None if dataset is None else partial(Rebuild, owner, dataset.source)
        runner = Runner(owner, message, held, preparer, adviser, progress, rebuild)
        found = runner.run()
    finally:
        tidy(folder, began=runner is not None and runner.began)
    preprocessing = None if preparer is None or placed is None else _preprocessing(placed, loss, folder)
    result = _result(owner, search, folder, found, preparer, preprocessing)
    if not quiet:
        print(result.summary())
    return result


def _preprocessing(placed: Placed, loss: str | None, folder: Folder) -> Preprocessing | None:
    """What the best model needs of raw rows, saved beside it; None if it takes them as they are."""
    try:
        if not placed.prepares():
            return None
        found = placed.learned(loss)
        folder.path.mkdir(exist_ok=True)
        found.save(folder.path / PREPROCESSING)
    except (LetheError, OSError) as error:
        # As with the best model: training is not lost for it.
        warnings.warn(f"lethe: the preprocessing was not saved: {error}", stacklevel=5)
        return None
    return found


def _result(
    owner: Application,
    search: Search,
    folder: Folder,
    message: dict[str, Any],
    preparer: Preparer | None,
    preprocessing: Preprocessing | None,
) -> Result:
    model, path = None, None
    best = next((trial for trial in message["trials"] if trial["trial"] == message["best"]), None)
    if preparer is not None and best is not None:
        # Fetched now: the result is to be of use after the session has been stopped.
        weights = fetch_weights(owner.peer, folder.name, best["trial"])
        # It may have been prepared and trained by a process before this one.
        seed = trial_seed(search.seed, best["trial"])
        model = TrainedModel(preparer.generator, best["hparams"], preparer.inputs, seed, weights)
        try:
            folder.path.mkdir(exist_ok=True)
            path = model.save(folder.path / "best_model.pt")
        except Exception as error:
            # Hours of training are not lost for a full disk, or a generator that is no function of hparams.
            warnings.warn(f"lethe: the best model was not saved: {error}", stacklevel=4)
    return Result(
        message,
        objectives=search.objectives,
        directory=str(folder.path),
        tables=Tables(folder.path, owner),
        model=model,
        best_model_path=path,
        preprocessing=preprocessing,
    )
