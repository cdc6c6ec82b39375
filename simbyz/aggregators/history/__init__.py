"""Rules that remember what each worker sent before."""
