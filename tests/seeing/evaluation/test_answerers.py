from common import tiny_captioner
from common.evaluated import make_arguments

from hf_attention import AttentionVQAConfig, AttentionVQAForQuestionAnswering, AttentionVQAProcessor
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
