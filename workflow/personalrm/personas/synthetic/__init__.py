"""Synthetic users (Singh et al., FSPO, 2025): questions, answers, descriptions and labels."""
