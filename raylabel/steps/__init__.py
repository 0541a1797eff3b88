"""What each step asks, how it reads the answers and what it changes; one file a step, one line in ``pipelines.PIPELINES``."""
