"""Ablation studies: what a model loses without each of its parts.

`Ablation` (ablation.py) says what is left out. Its `components(dataset)` (expand.py) lists a `Component` for
each part, those of the user's own `Ablator`s too; `trials(dataset)` lists the base and the components, with
their repetitions, as `Listed` (listed.py): hyperparameters, dataset and model generator of one trial. A
generator that leaves out layers is made by `layered`, whose surgery is in layers.py (modules) and
keras_layers.py; check.py tries it before the first trial, and fits.py looks at the training function.
report.py makes an `AblationTable` of what the trials came to, and chart.py draws it.

Only layers.py, bypass.py, check.py and shapes.py import torch.
"""
