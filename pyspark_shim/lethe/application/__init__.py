"""One application per Spark session of this process: its token, its driver process, its datasets."""
