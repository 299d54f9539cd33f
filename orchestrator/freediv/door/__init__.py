"""The data owner's door: a service on their own host that takes texts in the clear there, and answers in HTTP."""
