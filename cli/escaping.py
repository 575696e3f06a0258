"""Text of data on its way to a terminal."""


def shown(text: str) -> str:
    """Text that cannot steer a terminal: what is not printable by its number."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def lines_shown(text: str) -> str:
    """The same of each line."""
    return "\n".join(map(shown, text.split("\n")))
