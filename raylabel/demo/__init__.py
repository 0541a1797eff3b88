"""A little world of drawn scenes with known truth, and a VLM server that really looks at the pixels."""
