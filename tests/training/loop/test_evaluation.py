import pytest
from transformers import GenerationConfig

from hf_attention.training.loop.evaluation import beam_settings, tune_generation


def test_generation_is_tuned_by_one_score_or_the_sum_of_several() -> None:
    scores = {(3, 0.5): (50, 22), (3, 1.0): (52, 21), (5, 0.5): (51, 22.5), (5, 1.0): (40, 23)}

    def evaluator(model: None, num_beams: int, length_penalty: float) -> dict[str, float]:
        return dict(zip(("cider", "bleu_4"), scores[num_beams, length_penalty], strict=True))

    def chosen(metric: str) -> tuple[int, float]:
        settings, best = tune_generation(None, evaluator, metric, num_beams=(3, 5), length_penalties=(0.5, 1.0))
        assert best == evaluator(None, **settings)
        return settings["num_beams"], settings["length_penalty"]

    assert [chosen(metric) for metric in ("cider", "bleu_4", "cider+bleu_4")] == [(3, 1.0), (5, 1.0), (5, 0.5)]
    assert tune_generation(None, evaluator, "cider", (3, 5), (0.5, 1.0), False)[0] == {
        "num_beams": 5,
        "length_penalty": 1.0,
    }
    with pytest.raises(ValueError, match="`metric` must be one of cider, bleu_4, or a sum as a.b, got 'meteor'"):
        chosen("cider+meteor")


def test_a_single_beam_has_no_length_penalty() -> None:
    """transformers saves none with it; and there is but one way to generate with one beam."""
    for num_beams, length_penalty, kept in ((1, 0.5, 1.0), (2, 0.5, 0.5), (1, 1.0, 1.0)):
        settings = beam_settings(num_beams, length_penalty)
        assert settings == {"num_beams": num_beams, "length_penalty": kept}
        GenerationConfig(**settings).validate(strict=True)
    asked = []

    def evaluator(model: None, **settings) -> dict[str, float]:
        asked.append(settings)
        return {"cider": len(asked)}

    tune_generation(None, evaluator, num_beams=(1, 2), length_penalties=(0.5, 1.0))
    assert [tuple(settings.values()) for settings in asked] == [(1, 1.0), (2, 0.5), (2, 1.0)]
