"""Reports of other libraries' training loops, within a Python training function:

    def train(hparams, reporter):
        from lethe.callbacks.xgboost import XGBoostReport

        report = XGBoostReport(reporter, metric="validation-logloss")
        xgboost.train(hparams, rows, evals=[(held_out, "validation")], callbacks=[report])

    keras.py            KerasEpochEnd, KerasBatchEnd
    lightning.py        LightningReport
    transformers.py     TransformersReport
    xgboost.py          XGBoostReport
    lightgbm.py         LightGBMReport

Each takes the function's `reporter` and `metric`, the library's own name of what is reported as the
experiment's metric. All else that the library has measured by then is reported under its own name. A value
that is called as the experiment's metric, but is another, is one of the training rows, as `accuracy` beside
`val_accuracy`: it becomes `train_accuracy`.

Steps are counted from 1, a step a report, over several calls of `fit` too. A library that goes on from its
own checkpoint goes on with its count; `start` says how many steps are behind where it counts anew.

When the trial is to end, `lethe.TrialStopped` leaves the library's `fit` or `train`. Let it pass; code in
`finally` runs. A trial can be paused if `checkpoint.save` is called before each report: in a callback of your
own that comes before this one in the list.

Each module imports its library, and is imported by nothing of Lethe.
"""
