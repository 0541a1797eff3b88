"""What a run stores in its results folder: Parquet tables of replies and results, generations, and the lease."""
