"""The report of a run: one page of results, and a browser of all requests and answers."""
