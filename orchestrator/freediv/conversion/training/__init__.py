"""The training loop, what its epochs are made of, and what it minimises."""
