"""The models that a party keeps, and how they come to it."""
