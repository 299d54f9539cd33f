"""A student: what replaces what, its constants, and how it learns from its teacher."""
