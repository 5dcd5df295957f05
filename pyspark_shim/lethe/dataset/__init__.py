"""Datasets: where rows come from, what is made of them, and how they are read back."""
