"""What came of an experiment, as Matplotlib figures: `result.plot` and `lethe.open(…).plot`.

`Plots` (plots.py) has a method for each. history.py, curves.py, parallel.py, importance.py and slots.py draw
one figure each, of what study.py (trials and their hyperparameters), attempts.py (where the slots' time went)
and forest.py (what matters) found in the experiment's tables and its journal (journal.py). scale.py places
hyperparameters, figure.py is what the figures have in common. An ablation study's chart is in lethe.ablation.

Matplotlib and scikit-learn are imported only when a figure is asked for: pip install 'lethe[charts]'.
"""
