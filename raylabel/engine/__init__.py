"""All of Ray, and nothing else: sessions, the streaming plan, and actors around the workers of ``raylabel.runtime``."""

import os

# Ray Data's threads outlive the end of a run that had to stop; without this, their next call starts another Ray.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
