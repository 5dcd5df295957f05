"""How an experiment stands while it runs: a line in a terminal, a table in a notebook, lines in a log."""
