import pytest

from hf_attention.scenes.scene import Scene, SceneObject


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="`colour`.*'mauve'"):
        SceneObject("star", "mauve", "small", (0, 0, 5, 5))
    with pytest.raises(ValueError, match="`box`"):
        SceneObject("star", "red", "small", (5, 0, 5, 5))
    star = SceneObject("star", "red", "small", (0, 0, 12, 12))
    with pytest.raises(ValueError, match="more than one red star"):
        Scene((star, star), "cloudy")
    with pytest.raises(ValueError, match="`ground`.*'sandy'"):
        Scene((star,), "sandy")
    with pytest.raises(ValueError, match="`variety` must be one of 6, 12, got 7"):
        Scene((star,), "cloudy", variety=7)
