"""Stopping rules: which trials end early, or pause. Rust carries them out; here they are checked."""
