"""The data owner and the model owner."""
