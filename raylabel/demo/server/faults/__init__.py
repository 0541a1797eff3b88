"""A server that misbehaves on order (``--faults``): faults, limits, absences, and pictures that kill."""
