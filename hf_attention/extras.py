"""What the optional parts of the package need, and how to get it."""

import importlib.util
from pathlib import Path


# The modules that each extra of pyproject.toml brings.
EXTRAS = {
    "demo": ("gradio",),
    "metrics": ("pycocoevalcap", "sacrebleu"),
    "visualization": ("matplotlib",),
}


def missing_modules(extra: str) -> list[str]:
    """
    The modules of an extra that are not installed.

    Args:
        extra (`str`): One of `EXTRAS`.
    """
    return [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]


def require_extra(extra: str) -> None:
    """
    Checks that an extra is installed. A script calls it before its work, a function before it imports.

    Args:
        extra (`str`): One of `EXTRAS`.

    Raises:
        ModuleNotFoundError: Where it is not; the message says how to install it.
    """
    missing = missing_modules(extra)
    if missing:
        is_checkout = (Path(__file__).parents[1] / "pyproject.toml").is_file()
        package = f'-e ".[{extra}]"' if is_checkout else f'"hf_attention[{extra}]"'
        raise ModuleNotFoundError(
            f"This needs {' and '.join(missing)}, of the extra {extra!r}: pip install {package}", name=missing[0]
        )
