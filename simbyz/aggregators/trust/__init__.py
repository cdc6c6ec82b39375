"""Rules by what the server trusts: a reference of its own, or a few examples of its own."""
