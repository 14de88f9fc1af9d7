"""The page as a folder for the Hub."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest


pytest.importorskip("gradio", reason="the page needs the extra `demo`")

from common.looks import Look  # noqa: E402
from packaging.requirements import Requirement  # noqa: E402
from PIL import Image  # noqa: E402

from hf_attention.demo.space import write_space  # noqa: E402


ROOT = Path(__file__).parents[2]


def test_a_space_has_all_it_needs(folders: dict[str, str], tmp_path: Path):
    space = tmp_path / "space"
    (Path(folders["captioner"]) / "optimizer.bin").write_bytes(b"a pickle")
    write_space(space, {"captioner": folders["captioner"], "translator": "someone/translator"}, "translation_en_to_de")
    imports = (space / "app.py").read_text().partition("page = ")[0]
    exec(compile(imports, "app.py", "exec"), {})
    assert (
        "TranslationDemonstration.load('someone/translator', 'translation_en_to_de')" in (space / "app.py").read_text()
    )
    requirements = {*map(Requirement, (space / "requirements.txt").read_text().split())}
    tomllib = pytest.importorskip("tomllib", reason="before Python 3.11 nothing reads pyproject.toml")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    expected = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    assert requirements == {*map(Requirement, expected)}
    model = space / "models" / "captioner"
    assert json.loads((model / "config.json").read_text())["model_type"] == "attention_captioner"
    assert (model / "model.safetensors").is_file() and not (model / "optimizer.bin").exists()
    card = (space / "README.md").read_text()
    assert re.search(r"^sdk: gradio$", card, re.M) and re.search(r"^- someone/translator$", card, re.M)
    assert not list(space.rglob("__pycache__"))
    with pytest.raises(ValueError, match="a new or an empty folder"):
        write_space(space, {})


def test_a_space_of_shipped_models_and_one_s_own_pictures(photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hf_attention.demo.space.checkpoints", ("scenes-captioner",))
    space = tmp_path / "space"
    write_space(space, {"captioner": "scenes-captioner"}, examples=Path(photo).parent)
    app = (space / "app.py").read_text()
    assert "captioner=CaptionDemonstration.load('scenes-captioner')," in app and not (space / "models").exists()
    assert "scenes-captioner" not in (space / "README.md").read_text()  # which names those on the Hub
    imports, _, rest = app.partition("page = ")
    names = {}
    exec(compile(imports, "app.py", "exec"), names)
    [line] = [line for line in rest.splitlines() if "pictures=" in line]
    monkeypatch.chdir(space)
    assert [picture.size for picture in eval(f"dict({line})", names)["pictures"]] == [Image.open(photo).size]


@pytest.mark.slow
def test_a_space_runs_by_itself(folders: dict[str, str], photo: str, tmp_path: Path):
    write_space(tmp_path / "space", {"captioner": folders["captioner"], "answerer": folders["answerer"]})
    code = (
        "import hf_attention, runpy, sys; print(hf_attention.__file__); "
        "page = runpy.run_path('app.py')['page']; "
        "caption = next(function for function in page.fns.values() if function.api_name == 'caption'); "
        f"print(caption.fn({{'path': {photo!r}}}, 1))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "space", capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    file, shown = result.stdout.split("\n", 1)
    assert Path(file).is_relative_to(tmp_path / "space")
    assert Look(shown).words
