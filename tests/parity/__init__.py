"""`as_published` against the authors' package, which runs in an environment of its own."""
