"""How fast raylabel is beside an ideal loop and a thread pool with a barrier between steps: ``scripts/bench``."""
