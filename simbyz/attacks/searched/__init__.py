"""Attacks that search what moves a rule most."""
