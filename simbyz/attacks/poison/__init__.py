"""Attacks on what workers learn from: other labels, planted examples, and how these are sent."""
