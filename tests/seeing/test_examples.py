"""The pictures of the documents, made by tiny models."""

from pathlib import Path

import pytest
from common.tiny_page import save_models
from PIL import Image

from hf_attention.seeing.examples import main


PAGE = """
```python
from PIL import Image
picture = Image.linear_gradient("L")
```

```python
picture.save("grey.png")
```
"""


def test_pictures_of_all_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = save_models(tmp_path / "models")
    captioner = folders["captioner"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    main(
        ["--captioner", captioner, "--other_captioner", f"{captioner}/", "--answerer", folders["answerer"]]
        + ["--translator", folders["translator"]]
    )
    made = tmp_path / "runs" / "pictures"
    pictures = {"caption.png", "comparison.png", "glimpses.png", "alignment.png"}
    assert {path.name for path in made.iterdir()} == pictures | {"caption.html", "alignment.html"}
    assert all(min(Image.open(made / name).size) > 50 for name in pictures)
    assert not list((tmp_path / "docs" / "pictures").iterdir()), "the documents' own are only made by name"


def test_pictures_that_a_page_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.md").write_text(PAGE)
    main(["--page", "page.md", "--output_dir", "pictures"])
    main(["--page", "page.md", "--output_dir", "pictures"])
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["grey.png"]
    assert Image.open("pictures/grey.png").convert("L").getextrema() == (0, 255)
