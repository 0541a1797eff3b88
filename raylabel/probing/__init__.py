"""What is found out about an endpoint before a run relies on it: its models' names, their boxes, and its reply schemas.

``endpoint.probe_endpoint`` is the way in; what it finds is kept as ``facts.EndpointFacts``. How a model writes boxes is
measured with drawn pictures (``calibration``): probes, observations, fitting, verdict, and a sheet that shows it. How
it reads boxes in a question is checked with another picture (``box_reading``). Nothing here knows Ray or the command
line.
"""
