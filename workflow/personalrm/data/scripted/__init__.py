"""Invented users with planted tastes, and their votes on texts that are composed without a model."""
