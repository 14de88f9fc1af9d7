from hf_attention.seeing.evaluation.captioners import tokens_of
from hf_attention.training.data.tokenization import train_tokenizer


def test_the_words_of_a_caption_are_found_whatever_their_tokens():
    tokenizer = train_tokenizer(["a red circle above a blue triangle"] * 3, tokenizer_type="bpe", vocab_size=290)
    text = "a red circle above a blue triangle"
    encoding = tokenizer(text, return_offsets_mapping=True)
    start = text.index("triangle")
    tokens = tokens_of(encoding["offset_mapping"], start, start + len("triangle"))
    assert tokenizer.decode([encoding["input_ids"][token] for token in tokens]).strip() == "triangle"
