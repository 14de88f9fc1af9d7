"""The pictures of the documents."""

from pathlib import Path

import pytest
from PIL import Image

from hf_attention.seeing.document_pictures import main


PAGE = """
```python
from PIL import Image
picture = Image.linear_gradient("L")
```

```python
picture.save("grey.png")
```
"""


def test_pictures_that_a_page_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.md").write_text(PAGE)
    main(["--page", "page.md", "--output_dir", "pictures"])
    main(["--page", "page.md", "--output_dir", "pictures"])
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["grey.png"]
    assert Image.open("pictures/grey.png").convert("L").getextrema() == (0, 255)
