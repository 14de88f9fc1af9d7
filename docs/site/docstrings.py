"""Docstrings in the dialect of transformers, as Markdown."""

import ast
import re
import textwrap
from collections import Counter
from collections.abc import Iterator

import griffe
from mkdocs.exceptions import PluginError


logger = griffe.get_logger("docstrings")

SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields|Example):\n((?:(?: {4}.*)?\n)*)", re.MULTILINE)
# Of which there are no pages here.
OTHERS = ("torch", "transformers")
TITLES = {"Args": "Arguments"}
ITEM = re.compile(r"^([*\w][\w.*, ]*?)(?: \((.+?)\))?:(?: +(.*))?$")
MATH = re.compile(r"\\\\([()])")
REFERENCE = re.compile(r"\[`(~?)([\w.]+)`\](?![(\[])")


class Docstrings(griffe.Extension):
    """Makes definition lists of sections, and links of references such as [`~hf_attention.register`]."""

    def on_package(self, *, pkg: griffe.Module, **kwargs) -> None:
        objects = [*_within(pkg)]
        names = Counter(each.name for each in objects)
        self.paths = {each.name: each.path for each in objects if names[each.name] == 1}
        for each in objects:
            if options := _options(each):
                text = each.docstring.value if each.docstring else ""
                each.docstring = griffe.Docstring(f"{text}\n\nArgs:\n{options}", parent=each)
            if each.docstring:
                text = MATH.sub(r"\\\1", SECTION.sub(_section, each.docstring.value + "\n"))
                each.docstring.value = REFERENCE.sub(lambda match, each=each: self._link(match, each), text)

    def _link(self, match: re.Match, where: griffe.Object) -> str:
        """The name, as a link where a page has it."""
        name = match[2]
        shown = f"<code>{name.rpartition('.')[2] if match[1] else name}</code>"
        first, _, rest = name.partition(".")
        try:
            path = where.resolve(first)
        except griffe.NameResolutionError:
            path = self.paths.get(first, first)
        path = ".".join(filter(None, [path, rest]))
        if path.partition(".")[0] in OTHERS:
            return shown
        try:
            found = where.modules_collection[path]
        except KeyError:
            logger.warning(f"{where.path}: nothing is called {name}")
            return shown
        return f'<autoref identifier="{found.canonical_path}" optional>{shown}</autoref>'


def _within(parent: griffe.Object) -> Iterator[griffe.Object]:
    yield parent
    for each in parent.members.values():
        if not each.is_alias:
            yield from _within(each)


def _options(each: griffe.Object) -> str:
    """Entries for the fields of a dataclass that say what they are, as options of a command line do."""
    entries = []
    for name, field in each.members.items() if each.is_class else []:
        if field.is_attribute and isinstance(field.value, griffe.ExprCall):
            given = {each.name: each.value for each in field.value.arguments if isinstance(each, griffe.ExprKeyword)}
            if "metadata" in given:
                told = _help(given["metadata"], f"{each.path}.{name}")
                default = _default(given.get("default"))
                entries.append(f"    {name} (`{_plain(field.annotation)}`{default}):\n        {told}")
    return "\n".join(entries)


def _help(metadata: griffe.Expr | str, field: str) -> str:
    try:
        return ast.literal_eval(str(metadata))["help"]
    except (KeyError, SyntaxError, TypeError, ValueError):
        reason = f"{field}: its `metadata` must have a `help` written out as a text, got {metadata}"
        raise PluginError(reason) from None  # mkdocs then shows the reason alone


def _default(value: griffe.Expr | str | None) -> str:
    if value is None:
        return ""
    return ", *optional*" + (f", defaults to `{value}`" if str(value) != "None" else "")


def _section(match: re.Match) -> str:
    name, body = match[1], textwrap.dedent(match[2]).strip()
    title = f"**{TITLES.get(name, name)}**\n{{: .section }}\n"
    if name in ("Args", "Attributes", "Raises"):
        body = "\n\n".join(_item(item) for item in re.split(r"\n+(?=\S)", body))
    return f"{title}\n{body}\n\n"


def _item(text: str) -> str:
    """A definition list's entry of `name (type): What it is`, whose continuation is indented."""
    first, _, rest = text.partition("\n")
    if (found := ITEM.match(first)) is None:
        return text
    names = ", ".join(f"`{name.strip()}`" for name in found[1].split(","))
    kind = f" ({found[2]})" if found[2] else ""
    meaning = "\n".join(filter(None, [found[3], textwrap.dedent(rest).strip("\n")]))
    return f"{names}{kind}\n:   {textwrap.indent(meaning, '    ').lstrip()}"


def _plain(annotation: griffe.Expr) -> str:
    """A type without its range, and without `None`."""
    return re.sub(r"Annotated\[(.+), \w+\]$", r"\1", str(annotation)).removesuffix(" | None")
