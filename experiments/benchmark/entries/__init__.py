"""What is entered: rules, pre-aggregators and attacks by name, and a user's own."""
