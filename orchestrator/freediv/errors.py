"""The error a user can cause, and mend."""


class UserError(Exception):
    """What is wrong, where, and what to do about it: one line, shown without a traceback, exit status 2."""
