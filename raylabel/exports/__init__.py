"""What leaves: annotations.jsonl, failures.jsonl, legacy text files."""
