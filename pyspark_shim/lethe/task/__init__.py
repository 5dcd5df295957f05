"""What runs in a Spark task: only pyarrow and the standard library are imported here."""
