"""How a model really writes boxes, measured with drawn pictures: probes, fitting, verdict, and a sheet that shows it.

``calibrating.settle`` is the way in. Nothing here knows Ray, settings files or the command line.
"""
