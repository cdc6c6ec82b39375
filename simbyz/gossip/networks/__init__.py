"""Networks: graphs with Byzantine nodes, as they stand, or drawn anew in every exchange."""
