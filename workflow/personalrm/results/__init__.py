"""Results: scores of verdicts, statistics, and every table and figure."""
