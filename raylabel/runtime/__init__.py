"""Settling records, without Ray: ask, store, count, deliver; and a run from settings to exit code.

A ``Worker`` takes shards of the input through all steps on one event loop. Where workers run is an ``Executor``'s
business: in this process (``in_process``), or on a cluster (``raylabel.engine``).
"""
