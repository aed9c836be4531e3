"""What a run will ask of models, found by simulating it: the stages' own functions, with fake models."""
