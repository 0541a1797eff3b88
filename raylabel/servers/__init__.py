"""Model servers of raylabel's own: started, watched, started again, and ended in every case.

``replica.Replica`` is one server that is kept going: ``start()``, ``address``, ``watch()``, ``stop()``. It stands on
``process`` (the server with the ``watchdog`` that ends it), ``checking`` (whether it answers, and as what), ``metrics``
(whether it gets on) and ``log`` (what it is doing, and why it died). ``engines`` has a file for each kind of server.
``background.ServersInBackground`` are the replicas of one machine, ``standing`` tells runs of those that ``raylabel
serve`` (``command``) keeps up. Nothing here knows Ray.
"""
