"""The calls that a run will make, found by simulating it: the stages' own functions, with fake models."""
