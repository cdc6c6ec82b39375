"""From finished runs to tables: pairs, intervals, verdicts on the claims."""
