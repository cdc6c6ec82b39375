"""The workers' half of a step: gradients, and what is made of them before they are sent."""
