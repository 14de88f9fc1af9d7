"""What a request may name: the files that visitors uploaded, and the examples."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..extras import missing_modules


if TYPE_CHECKING or not missing_modules("demo"):
    import gradio as gr
    from gradio import Blocks
else:
    Blocks = object  # no page is made without gradio


class Page(Blocks):
    """A page that reads no file but those in gradio's own folder: what was uploaded to it, and its examples."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        # All requests pass here, before gradio moves or fetches what they name.
        if not all(_is_in(name, self.GRADIO_CACHE) for name in _named_files(inputs)):
            raise gr.Error("Only a picture that you upload, or an example, is read.", print_exception=False)
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)


class Entrance:
    """
    An ASGI application before the page's: turns away requests whose path names an address, which gradio would fetch.

    Args:
        app: The page's application.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]):
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Callable, send: Callable) -> None:
        if scope["type"] != "http" or ":/" not in scope["path"]:
            await self.app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"No addresses are fetched."})


def _named_files(value: Any) -> Iterator[Any]:
    """Whatever gradio may take for a file, at any depth."""
    if isinstance(value, dict):
        if "path" in value or "url" in value:
            yield value.get("path")
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _named_files(each)


def _is_in(name: Any, folder: str) -> bool:
    """Whether it names a file there, links followed. Nothing is told of what lies elsewhere."""
    try:
        path = Path(os.path.realpath(name))
        return path.is_relative_to(os.path.realpath(folder)) and path.is_file()
    except (OSError, TypeError, ValueError):
        return False
