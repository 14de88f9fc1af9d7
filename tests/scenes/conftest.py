import pytest

from hf_attention.scenes.layout import SPLITS, make_scene
from hf_attention.scenes.scene import VARIETIES, Scene


@pytest.fixture(scope="session", params=VARIETIES, ids="{} colours and shapes".format)
def scenes(request) -> dict[str, list[Scene]]:
    return {split: [make_scene(3, split, i, variety=request.param) for i in range(150)] for split in SPLITS}
