import torch
from common import tiny_captioner, tiny_vqa
from common.evaluated import make_arguments
from PIL import Image

from hf_attention import (
    AttentionVQAConfig,
    AttentionVQAForConditionalGeneration,
    AttentionVQAForQuestionAnswering,
    AttentionVQAProcessor,
)
from hf_attention.scenes import make_scene_questions
from hf_attention.seeing.evaluation.answerers import Answers


def test_an_answering_model_from_its_folder(tmp_path):
    questions = make_scene_questions(train=0, validation=0, test=4, held_out=0, image_size=32)["test"]
    answers = sorted(set(questions["answer"]))
    vocabulary = sorted({word for text in questions["question"] for word in text.strip("?").split()})
    processor = AttentionVQAProcessor(
        tiny_captioner.make_processor().image_processor, tiny_captioner.make_tokenizer(vocabulary)
    )
    config = AttentionVQAConfig(
        vocab_size=len(processor.tokenizer),
        backbone_config=tiny_captioner.make_backbone_config("vit"),
        id2label=dict(enumerate(answers)),
        embedding_size=4,
        encoder_hidden_size=6,
        memory_size=7,
        attention_size=5,
    )
    AttentionVQAForQuestionAnswering(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    measures = Answers(str(tmp_path), make_arguments(split="test")).measure()
    assert measures["kind"] == "answers" and 0 <= measures["answers_right"] <= 1
    assert measures["all"]["looks"] <= len(questions)


def test_the_closing_token_is_left_out_of_where_a_generated_answer_looked(tmp_path):
    model, processor = tiny_vqa.make_model(AttentionVQAForConditionalGeneration), tiny_vqa.make_processor()
    model.generation_config.update(max_length=5, min_new_tokens=4, forced_eos_token_id=tiny_captioner.END)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    question, picture = "what colour is the circle ?", Image.effect_noise((32, 32), 50).convert("RGB")
    _, looked = Answers(str(tmp_path), make_arguments(split="test"))._ask([picture], [question])
    inputs = processor(images=picture, text=question, return_tensors="pt")
    generated = model.generate(**inputs)
    assert generated.shape == (1, 5) and generated[0, -1] == tiny_captioner.END
    outputs = model(**inputs, decoder_input_ids=generated[:, :-2], output_attentions=True)
    of_words = outputs.cross_attentions[0].mean(1)[:, :, : -inputs["input_ids"].shape[1]]
    torch.testing.assert_close(looked, of_words.mean(1))
