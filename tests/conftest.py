"""For all tests."""

from __future__ import annotations

import signal

# Where the tests were started in the background of a script, or by nohup, Ctrl-C is ignored: by what they start, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
