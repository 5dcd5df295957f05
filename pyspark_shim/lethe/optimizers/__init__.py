"""Optimizers: who suggests hyperparameters. Those named here run in Rust; users' own in this process."""
