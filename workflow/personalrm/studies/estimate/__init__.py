"""What a run will ask of models, found by rehearsing it: the stages' own functions, with models that only count."""
