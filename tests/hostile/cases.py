"""What hostile cases are made of."""

import io
import struct
import zlib
from collections.abc import Callable

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image


SEED = 20


def bounded(number: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """
    Makes of a function one that takes strategies by the same names, and calls it so many times with what these give,
    the same on each run.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def run(**strategies: SearchStrategy) -> None:
            options = settings(
                max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            seed(SEED)(options(given(**strategies)(function)))()

        return run

    return decorate


odd_texts = st.one_of(
    st.sampled_from(
        ["", " ", "\n", "\0", "\ufeff", "\u202e", "<unk>", "</s>", "\U0001f600" * 9, "a" * 20_000, "a " * 5_000]
    ),
    st.text(max_size=20),
)
odd_numbers = st.one_of(
    st.booleans(), st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1), st.floats(), st.just(10**30)
)
odd_values = st.recursive(
    st.none() | odd_numbers | odd_texts,
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(st.sampled_from(["answer", "raw", "path", "en"]), each, max_size=2)
    ),
    max_leaves=3,
)


class Change:
    """A change of bytes, by name."""

    def __init__(self, name: str, function: Callable[[bytes], bytes]):
        self.name, self.function = name, function

    def __call__(self, content: bytes) -> bytes:
        return self.function(content)

    def __repr__(self) -> str:
        return self.name


def _cut(share: float) -> Change:
    return Change(f"cut at {share:.2f}", lambda content: content[: int(share * len(content))])


def _put(share: float, what: bytes) -> Change:
    def put(content: bytes) -> bytes:
        place = int(share * len(content))
        return content[:place] + what + content[place + len(what) :]

    return Change(f"{what!r} at {share:.2f}", put)


shares = st.floats(0, 1)
changed_bytes = st.one_of(
    st.builds(_cut, shares),
    st.builds(_put, shares, st.binary(min_size=1, max_size=4)),
    st.builds(_put, shares, st.sampled_from([b"\0", b"\n", b'"', b"}", b"\xff\xfe", b"\r", b"{"])),
    st.sampled_from(
        [
            Change("empty", lambda content: b""),
            Change("twice", lambda content: content * 2),
            Change("reversed", lambda content: content[::-1]),
            Change("zeros", lambda content: bytes(len(content))),
            Change("UTF-16", lambda content: content.decode().encode("utf-16")),
            Change("byte order mark", lambda content: b"\xef\xbb\xbf" + content),
        ]
    ),
)

KINDS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F")


def _encoded(mode: str, size: tuple[int, int], kind: str) -> tuple[str, bytes]:
    file = io.BytesIO()
    image = Image.new(mode, size)
    try:
        image.save(file, kind)
    except (OSError, ValueError):  # not every format has every mode
        image.convert("RGB").save(file, kind)
    return f"{kind} {mode} {size}", file.getvalue()


def _png_of(width: int, height: int) -> tuple[str, bytes]:
    """A PNG whose header says so, with hardly anything in it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return f"PNG that says {width} x {height}", b"\x89PNG\r\n\x1a\n" + content


def odd_pictures() -> SearchStrategy[tuple[str, bytes]]:
    """Files of pictures, and of what only looks like one."""
    sides = st.sampled_from([1, 2, 3, 5, 64, 1000])
    whole = st.builds(
        _encoded,
        st.sampled_from(MODES),
        st.tuples(sides, sides),
        st.sampled_from(KINDS),
    )
    damaged = st.builds(lambda each, change: (f"{each[0]}, {change}", _changed(change, each[1])), whole, changed_bytes)
    said = st.builds(_png_of, *[st.sampled_from([0, 1, 3, 30_000, 2**31 - 1])] * 2)
    other = st.sampled_from(
        [("text", b"a shopping list"), ("empty", b""), ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>")]
    )
    return whole | damaged | said | other


def _changed(change: Change, content: bytes) -> bytes:
    try:
        return change(content)
    except UnicodeDecodeError:
        return content[::-1]
