"""What Lethe does in a notebook's kernel."""
