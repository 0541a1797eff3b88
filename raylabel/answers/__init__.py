"""Model text to typed answers."""
