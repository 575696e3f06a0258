"""The one kind of error that is the user's to mend."""


class XmgError(Exception):
    """Something a person can put right: the message says what, where, and what to type next.

    The command line prints it and exits with status 1; any other exception is a bug of ours
    and keeps its traceback.
    """

    @property
    def fault(self) -> str:
        """What is wrong, without what to type next."""
        return str(self).partition("fix: ")[0].rstrip(" .\n")
