"""What is paid is kept: Parquet checkpoints, generations and the lease on a results folder."""
