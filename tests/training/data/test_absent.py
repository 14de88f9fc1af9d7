"""What never occurs together is told from what is rare."""

import torch

from hf_attention.training.data.absent import absent_followers, absent_pairs


def test_pairs_are_absent_where_chance_would_have_shown_them() -> None:
    # Of the third column 8 * 12 / 48 = 2 would have been in the second row, 10 * 12 / 48 = 2.5 in the third.
    counts = torch.tensor([[18, 0, 12], [8, 0, 0], [4, 6, 0]])
    assert absent_pairs(counts, 2).tolist() == [[False, True, False], [False, False, True], [False, False, True]]
    assert absent_pairs(counts, 3).tolist() == [[False, True, False], [False, False, False], [False, False, False]]
    assert not absent_pairs(torch.zeros(2, 3)).any()


def test_words_of_a_kind_are_absent_behind_words_that_others_of_it_follow() -> None:
    end, a, red, blue, star, ring = range(6)
    texts = [[a, red, star, end]] * 30 + [[a, blue, ring, end]] * 50 + [[a, red, ring, a, red, star, end]] * 30
    absent = absent_followers([texts[:50], texts[50:]], [star, ring], 6)
    assert absent.nonzero().tolist() == [[blue, star]]  # and not, say, "a star": no noun follows an article here
