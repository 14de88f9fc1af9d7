from collections.abc import Iterator

import pytest
from common import tiny_models
from common.tiny_page import RunningPage, save_models


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pictures") / "photo.png"
    tiny_models.make_pictures()["circle"].save(path)
    return str(path)


@pytest.fixture(scope="session")
def running_page(folders: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPage]:
    pytest.importorskip("gradio", reason="the page needs the extra `demo`")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        page = RunningPage(folders)
        yield page
        page.close()
