"""Learning a model by asking about texts, and about what is between them."""
