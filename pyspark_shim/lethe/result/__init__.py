"""What an experiment came to."""
