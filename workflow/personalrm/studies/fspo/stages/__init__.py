"""Stages of the study: a module per stage or family of stages."""
