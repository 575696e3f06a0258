"""The one kind of error that is the user's to mend."""


class XmgError(Exception):
    """Something a person can put right: the message says what, where, and what to type next.

    The command line prints it and exits with status 1; any other exception is a bug of ours
    and keeps its traceback.
    """
