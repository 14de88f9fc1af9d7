import pytest

from hf_attention.training.loop.evaluation import tune_generation


def test_generation_is_tuned_by_one_score_or_the_sum_of_several() -> None:
    scores = {(3, 0.5): (50, 22), (3, 1.0): (52, 21), (5, 0.5): (51, 22.5), (5, 1.0): (40, 23)}

    def evaluator(model: None, num_beams: int, length_penalty: float) -> dict[str, float]:
        return dict(zip(("cider", "bleu_4"), scores[num_beams, length_penalty], strict=True))

    def chosen(metric: str) -> tuple[int, float]:
        settings, best = tune_generation(None, evaluator, metric, num_beams=(3, 5), length_penalties=(0.5, 1.0))
        assert best == evaluator(None, **settings)
        return settings["num_beams"], settings["length_penalty"]

    assert [chosen(metric) for metric in ("cider", "bleu_4", "cider+bleu_4")] == [(3, 1.0), (5, 1.0), (5, 0.5)]
    with pytest.raises(ValueError, match="must be of cider, bleu_4, got meteor"):
        chosen("cider+meteor")
