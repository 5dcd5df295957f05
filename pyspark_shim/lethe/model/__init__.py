"""From the model generator to a program without weights, initial weights, and back. The only part that
imports torch."""
