"""`lethe.lagom`: runs an experiment."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from lethe import flight
from lethe.ablation.ablation import Ablation
from lethe.ablation.report import AblationTable
from lethe.ablation.saved import ABLATION, save
from lethe.application.application import Application
from lethe.application.registry import application
from lethe.contexts import Listing
from lethe.dataset.columns import check_label
from lethe.dataset.dataset import Dataset
from lethe.dataset.placed import Placed
from lethe.dataset.preprocessing import PREPROCESSING, Preprocessing
from lethe.dataset.rebuild import Rebuild
from lethe.errors import (
    ConfigError,
    DataError,
    ExperimentError,
    InstallError,
    LetheError,
    ModelError,
    ProcessError,
)
from lethe.experiment.adviser import Adviser
from lethe.experiment.interrupt import terminable
from lethe.experiment.plan import Folder, plan, tidy
from lethe.experiment.plan import folder as folder_of
from lethe.experiment.runner import Runner
from lethe.experiment.slots import count, slots_of
from lethe.experiment.trials import Train, Trials, trials_of
from lethe.function import Function
from lethe.progress.choose import choose
from lethe.progress.standing import Standing
from lethe.result.model import TrainedModel, fetch_weights
from lethe.result.result import Result
from lethe.result.sql import Tables
from lethe.saved.signature import Signature, signature_of
from lethe.saved.training import Training
from lethe.search import Search
from lethe.session.base import Session
from lethe.session.find import active_session, session_of
from lethe.settings import Settings
from lethe.supervised import Registered, Supervised, check_experiment
from lethe.tracking.about import about
from lethe.tracking.following import Following, trackers_of
from lethe.tracking.tracker import Tracker

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from lethe.experiment.prepare import Preparer


def lagom(
    train: Train | Callable[..., Any],
    dataset: Dataset | None,
    experiment: Search | Listing,
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
    track: Tracker | Sequence[Tracker] | None = None,
) -> Result:
    """Runs the experiment and returns its result.

    train: what a trial does: `Supervised`, a Python function (see `Function`), or `Registered` for one in
        Rust.
    dataset: what it is trained on; None for functions that need no data.
    experiment: `Single(...)`, `Search(...)`, `Ablation(...)` or `Distributed(...)`: the same
        function in each.
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
    quiet: shows nothing, neither while it runs nor at its end. Otherwise a terminal has a live line, a
        notebook a table of trials that becomes the result, anything else a line now and then; the lines are
        on stderr, the summary at the end on stdout.
    settings: of Lethe's processes; see `Settings`.
    track: `MLflow(…)`, `TensorBoard(…)`, or several: who is told of trials and their values while they run.

    Ctrl-C, a notebook's Interrupt, and cancelling its Spark job (`cancelAllJobs`, the caller's job
    group, Spark's web page) end the experiment within seconds, and what there is is returned
    (`result.interrupted`, `result.reason`); SIGTERM ends it and raises `Terminated`. Raises a LetheError
    whose first line says what to do.
    """
    if not isinstance(train, Supervised | Registered | Function):
        if not callable(train):
            raise ConfigError(f"train must be lethe.Supervised(…) or a function, not {type(train).__name__}")
        train = Function(train)
    if dataset is not None and not isinstance(dataset, Dataset):
        raise ConfigError(
            f"dataset must be a lethe.Dataset, not {type(dataset).__name__}; "
            "use Dataset.from_spark(df, …), from_files(urls, …) or from_arrow(table, …)"
        )
    if not isinstance(experiment, Search | Listing):
        raise ConfigError(
            "experiment must be lethe.Single(…), Search(…), Ablation(…) or Distributed(…), "
            f"not {type(experiment).__name__}"
        )
    if slots is not None and (isinstance(slots, bool) or not isinstance(slots, int) or slots < 1):
        raise ConfigError(f"slots must be a whole number from 1, not {slots!r}")
    trackers = trackers_of(track)
    if isinstance(experiment, Listing):
        experiment = experiment.of(train, dataset is not None and dataset.has_validation)
    if isinstance(train, Supervised):
        _check_supervised(train, dataset, experiment)
    elif isinstance(train, Function) and "dataset" in train.arguments and dataset is None:
        raise ConfigError(f"the training function {train.name} asks for a dataset; give lagom one")
    with terminable():
        owner = application(_session(spark, dataset), settings)
        folder = folder_of(
            name,
            directory,
            resume=resume,
            accept_changes=accept_changes,
            store=store,
            store_options=store_options,
            kind=type(experiment).__name__.lower(),
        )
        try:
            with Following(trackers, Tables(folder.path, owner), quiet) as tracked:
                return _run(owner, train, dataset, experiment, slots, folder, quiet, tracked)
        except (ExperimentError, ProcessError) as error:
            # The application's own folder goes with it.
            logs = owner.keep_logs(folder.path.with_name(f"{folder.path.name}-logs"))
            if logs is not None:
                error.args = (f"{error}\nwhat Lethe's processes have logged: {logs}", *error.args[1:])
            raise


def _check_supervised(train: Supervised, dataset: Dataset | None, experiment: Search | Listing) -> None:
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
    check_experiment(train, experiment, dataset.has_validation)


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
    train: Train,
    dataset: Dataset | None,
    experiment: Search | Listing,
    slots: int | None,
    folder: Folder,
    quiet: bool,
    tracked: Following,
) -> Result:
    runner: Runner | None = None
    loss = train.loss if isinstance(train, Supervised) else None
    placed = None if dataset is None else dataset.on(owner)
    try:
        described = None
        if placed is not None:
            placed.stored()
            if not isinstance(train, Registered) and train.model is not None:
                described = placed.describe(loss)["inputs"]
        expected = count(owner.session, slots, None, owner.settings.threads)
        trials = trials_of(experiment, train, dataset, placed, loss, expected)
        number = trials.slots(expected)
        preparer = _preparer(owner, train, trials, described, folder)
        data = None if placed is None else placed.spec(loss)
        message = plan(train, data, experiment, trials.source, folder, number)
        adviser = Adviser.of(owner.peer, folder.name, experiment)
        together = trials.workers[1] > 1
        held = slots_of(owner, folder.name, number, _bundle(train, trials), together)
        standing = Standing(folder.name, trials.count, experiment.metrics[0], trials.epochs(train))
        progress = choose(standing, experiment.metrics, number, owner.peer, quiet=quiet)
        rebuild = None if dataset is None else partial(Rebuild, owner, dataset.source)
        told = about(message, experiment.objectives, folder, trials, type(experiment).__name__.lower())
        follow = partial(tracked.follow, told)
        runner = Runner(owner, message, held, preparer, adviser, progress, rebuild, follow)
        found = runner.run()
    finally:
        tidy(folder, began=runner is not None and runner.began)
    best = _best(owner, train, experiment, trials, preparer, described, folder, found)
    signature = preprocessing = None
    if placed is not None and not isinstance(train, Registered) and train.model is not None:
        of, its = trials.data.get(found["best"], (placed, data))
        signature = _signature(of, loss, its or {})
        preprocessing = None if signature is None else _preprocessing(of, signature, folder)
    table = _table(experiment, found, dataset, folder) if isinstance(experiment, Ablation) else None
    native = isinstance(train, Supervised)
    training = Training(type(experiment).__name__.lower(), message, signature)
    result = _result(owner, experiment, folder, found, best, preprocessing, table, training, native)
    progress.result(result)
    own = result.best is not None and result.best.trial in trials.inputs
    tracked.finish(result, found, best, None if own else described)
    return result


def _table(
    study: Ablation, message: dict[str, Any], dataset: Dataset | None, folder: Folder
) -> AblationTable:
    table = study.table(message, dataset)
    try:
        save(table, folder.path / ABLATION)
    except OSError as error:
        # The table itself is there.
        warnings.warn(f"lethe: the study's table was not saved: {error}", stacklevel=3)
    return table


def _preparer(
    owner: Application, train: Train, trials: Trials, described: Any, folder: Folder
) -> Preparer | None:
    """Makes the modules of native trials; None where trials have none, or make their own."""
    if not isinstance(train, Supervised):
        return None
    from lethe.experiment.prepare import Preparer
    from lethe.model.inputs import inputs_of

    # Where a run before this one has trained, its first module here may fail like any other.
    tried = folder.resumed and not folder.made and not folder.accept_changes
    return Preparer(
        owner.peer,
        folder.name,
        train.model,
        train.loss,
        inputs_of(described),
        models=trials.models,
        own_inputs=trials.inputs,
        resumed=tried,
    )


def _bundle(train: Train, trials: Trials) -> bytes | None:
    """What the workers of Python functions run."""
    if not isinstance(train, Function):
        return None
    from lethe.worker.bundle import Bundle

    bundle = Bundle(
        train.train,
        train.arguments,
        train.model,
        train.generates,
        trials.models,
        train.sharding,
        train.precision,
        train.variables,
        train.strategy,
    )
    try:
        return bundle.pickled()
    except ImportError as error:
        raise InstallError(
            f"shipping a Python function needs cloudpickle ({error}); install it: pip install cloudpickle"
        ) from None
    except Exception as error:
        raise ConfigError(
            f"the training function {train.name} cannot be shipped to its slots: {error}; what it uses of "
            f"its "
            "surroundings must be picklable: open connections, sessions and locks within it"
        ) from error


def _signature(placed: Placed, loss: str | None, data: dict[str, Any]) -> Signature | None:
    """What the best model takes and gives, while there is someone to ask."""
    try:
        return signature_of(placed, loss, data)
    except (LetheError, *flight.FAILED) as error:
        # As with the best model: training is not lost for it.
        warnings.warn(f"lethe: what the model needs of raw rows is not known: {error}", stacklevel=5)
        return None


def _preprocessing(placed: Placed, signature: Signature, folder: Folder) -> Preprocessing | None:
    """What the best model needs of raw rows, saved beside it; None if it takes them as they are."""
    try:
        if not placed.prepares():
            return None
        folder.path.mkdir(exist_ok=True)
        signature.preprocessing.save(folder.path / PREPROCESSING)
    except (LetheError, OSError) as error:
        warnings.warn(f"lethe: the preprocessing was not saved: {error}", stacklevel=5)
        return None
    return signature.preprocessing


def _best(
    owner: Application,
    train: Train,
    experiment: Search | Listing,
    trials: Trials,
    preparer: Preparer | None,
    described: Any,
    folder: Folder,
    message: dict[str, Any],
) -> TrainedModel | None:
    """The best trial's model; None if there is none, or a Python function has kept no torch module."""
    best = next((trial for trial in message["trials"] if trial["trial"] == message["best"]), None)
    if best is None or isinstance(train, Registered) or train.model is None:
        return None
    number = best["trial"]
    try:
        # Fetched now: the result is to be of use after the session has been stopped.
        weights = fetch_weights(owner.peer, folder.name, number)
    except ExperimentError:
        if preparer is not None:
            raise
        return None
    from lethe.model.generator import Generator
    from lethe.model.inputs import inputs_of

    if preparer is not None:
        generator, inputs = preparer.generator(number), preparer.inputs(number)
    else:
        generator = Generator(trials.models.get(number, train.model))
        inputs = trials.inputs.get(number, 0 if described is None else inputs_of(described))
    # It may have been prepared and trained by a process before this one.
    return TrainedModel(generator, best["hparams"], inputs, trials.seed(experiment.seed, number), weights)


def _result(
    owner: Application,
    experiment: Search | Listing,
    folder: Folder,
    message: dict[str, Any],
    model: TrainedModel | None,
    preprocessing: Preprocessing | None,
    ablation: AblationTable | None,
    training: Training,
    native: bool,
) -> Result:
    path = None
    if model is not None:
        try:
            folder.path.mkdir(exist_ok=True)
            path = model.save(folder.path / "best_model.pt")
        except Exception as error:
            # Hours of training are not lost for a full disk, or a generator that is no function of hparams.
            # What only Python runs need not be scriptable.
            if native or not isinstance(error, ModelError):
                warnings.warn(f"lethe: the best model was not saved: {error}", stacklevel=4)
    return Result(
        message,
        objectives=experiment.objectives,
        directory=str(folder.path),
        tables=Tables(folder.path, owner),
        model=model,
        best_model_path=path,
        preprocessing=preprocessing,
        ablation=ablation,
        training=training,
    )
