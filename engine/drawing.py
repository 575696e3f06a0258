"""What draws, where it is installed."""

from xmg.cache import XmgError


def require_matplotlib(what: str, extra: str) -> None:
    """Raise XmgError where matplotlib is missing, which `what` needs and `extra` brings."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise XmgError(f"{what} need matplotlib. fix: pip install 'xmg[{extra}]'") from None
