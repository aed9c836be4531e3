"""The report of a run: one page of results, and a browser of everything that was asked and answered."""
