"""What each step asks, how it reads the answers and what it changes; one file a step, their order in ``pipelines``."""
