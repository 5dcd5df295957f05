"""Experiments in the tools that people look at them with: MLflow, TensorBoard."""
