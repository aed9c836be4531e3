"""Stages of the workflow as functions from files to files; `python -m personalrm <stage>` calls them."""
