"""Datasets: named columns of a Spark DataFrame or an Arrow table, their split, and their rows."""
