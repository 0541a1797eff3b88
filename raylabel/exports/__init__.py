"""The result files: annotations.jsonl, failures.jsonl, and the further formats a run can write."""
