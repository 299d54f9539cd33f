"""The error a user can cause, and mend."""

_LONGEST = 4000


class UserError(Exception):
    """What is wrong, where, and what to do about it: one line, shown without a traceback, exit status 2.

    What it quotes may come from anywhere: what a terminal would obey is shown instead, and too much is cut.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Text as one line that a terminal shows as it is, of so many characters at most."""
    shown = "".join(
        one if one.isprintable() else " " if one.isspace() else repr(one)[1:-1] for one in text[: longest + 1]
    )
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."
