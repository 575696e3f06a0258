"""Numbers of things, in words."""


def counted(n: int, thing: str) -> str:
    """Such as `1 class` and `2,000 classes`."""
    plural = f"{thing}es" if thing.endswith("s") else f"{thing}s"
    return f"{n:,} {thing if n == 1 else plural}"
