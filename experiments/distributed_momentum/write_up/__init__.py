"""The report that is written from the table."""
