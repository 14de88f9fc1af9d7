"""What the optional parts of the package need, and how to get it."""

import importlib.util
from pathlib import Path


# The modules that the package's own take from extras of pyproject.toml.
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


def require_extra(extra: str, *modules: str) -> None:
    """
    Checks that an extra is installed. A script calls it before its work, a function before it imports.

    Args:
        extra (`str`): One of `EXTRAS`.
        modules (`str`): Those of its modules that are needed. By default all.

    Raises:
        ModuleNotFoundError: Where it is not; the message says how to install it.
    """
    missing = [name for name in missing_modules(extra) if not modules or name in modules]
    if missing:
        root = Path(__file__).parents[1]
        is_checkout = (root / "pyproject.toml").is_file()
        where = "." if root == Path.cwd() else root
        package = f'-e "{where}[{extra}]"' if is_checkout else f'"hf_attention[{extra}]"'
        raise ModuleNotFoundError(
            f"This needs {' and '.join(missing)}, of the extra {extra!r}: pip install {package}", name=missing[0]
        )
