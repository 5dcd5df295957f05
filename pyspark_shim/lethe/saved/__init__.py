"""Trained models outside of the experiment that made them: saved, loaded, applied to raw rows."""
