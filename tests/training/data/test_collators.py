import torch

from hf_attention.training.data.collators import CaptionCollator


def test_rows_of_an_image_follow_each_other() -> None:
    examples = [
        {"region_features": torch.full((2, 3), 1.5, dtype=torch.float16), "labels": [[5, 6, 3], [7, 3]]},
        {"region_features": torch.zeros(2, 3, dtype=torch.float16), "labels": [[8, 3]]},
    ]
    batch = CaptionCollator()(examples)
    assert batch["labels"].tolist() == [[5, 6, 3], [7, 3, -100], [8, 3, -100], [-100] * 3]
    assert batch["region_features"].dtype == torch.float32
    assert batch["region_features"][0].eq(1.5).all()
