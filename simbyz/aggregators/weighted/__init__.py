"""Rules for workers that count by their masses, such as the samples they hold."""
