"""A server that misbehaves on demand (``--faults``): faults, limits, absences, and pictures that kill."""
