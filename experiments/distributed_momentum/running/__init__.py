"""How the cells are run: one by one, as a campaign, and split among processes."""
