"""Secret lookups: word pieces as point functions, what is made of them, and that they are what they have to be."""
