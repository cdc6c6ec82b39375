"""Attacks made against one rule or one kind of rule."""
