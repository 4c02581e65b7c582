"""Grammar of one and many, the same in every message, table and sentence."""


def plural(noun: str, n: int) -> str:
    """`image` of one, `images` of any other number; `class`, `classes`; `copy`, `copies`."""
    if n == 1:
        return noun
    if noun.endswith(("s", "x", "tch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def count(n: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{n} {plural(noun, n)}"


def is_or_are(n: int) -> str:
    """`is` of one, `are` of any other number."""
    return "is" if n == 1 else "are"


def has_or_have(n: int) -> str:
    """`has` of one, `have` of any other number."""
    return "has" if n == 1 else "have"


def was_or_were(n: int) -> str:
    """`was` of one, `were` of any other number."""
    return "was" if n == 1 else "were"
