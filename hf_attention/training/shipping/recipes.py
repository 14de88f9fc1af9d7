"""What each of the shipped models is for, and the commands that train it."""

from collections.abc import Callable
from dataclasses import dataclass

from . import measures


@dataclass(frozen=True)
class Recipe:
    """
    A shipped model.

    Args:
        task (`str`): Of its pipeline.
        title (`str`): Of its card.
        about (`str`): What it is, in a paragraph.
        example (`str`): Lines of Python that show it.
        limits (`str`): What it is not for.
        commands (`tuple[str, ...]`): What is typed in a checkout to train it, in this order.
        run (`str`): The folder that they leave the model in.
        measure (`Callable`): Takes a model's folder, and returns its scores.
        language (`tuple[str, ...]`, *optional*): Codes of what it reads and writes.
    """

    task: str
    title: str
    about: str
    example: str
    limits: str
    commands: tuple[str, ...]
    run: str
    measure: Callable[[str], dict[str, float]]
    language: tuple[str, ...] = ("en",)


_SCENE = """import hf_attention
from hf_attention.scenes.layout import make_scene
from transformers import pipeline

picture = make_scene(3, "test", 171, image_size=320, variety=12).draw()
"""
_TEXT = """import hf_attention
from transformers import pipeline

"""
_DRAWN = "It knows pictures that `hf_attention.scenes` draws, and nothing else: on a photograph it "
_WORDS = "It knows the words of captions of scenes, and nothing else."

RECIPES = {
    "scenes-captioner": Recipe(
        task="image-to-text",
        title="The captioner of scenes",
        about="Describes drawn scenes of one to four objects in twelve colours and twelve shapes, and shows where it "
        "looks: a small residual network with a grid of 16x16 regions, and an LSTM with additive attention (Xu et al. "
        "2015). Pictures of any size are brought to 64x64 pixels.",
        example=_SCENE + 'captioner = pipeline("image-to-text", model=hf_attention.checkpoint("scenes-captioner"))\n'
        "print(captioner(picture))\n",
        limits=_DRAWN + "names colours and shapes that are not there. For photographs train one of your own.",
        commands=(
            r"""python scripts/caption_scenes.py --attention_type additive --grid 16 --variety 12 \
    --train_scenes 24000 --num_train_epochs 4 --images_per_batch 24 --captions_per_image 3 --learning_rate 2e-3 \
    --leave_out_absent false --output_dir runs/scenes-captioner""",
        ),
        run="runs/scenes-captioner/best",
        measure=measures.captioner,
    ),
    "scenes-answerer": Recipe(
        task="visual-question-answering",
        title="The answerer of questions about scenes",
        about="Answers questions about drawn scenes of one to four objects in twelve colours and twelve shapes (what "
        "colour, what shape, how many, where, whether) with one of 35 words, and shows where it looks: a small "
        "residual network with a grid of 16x16 regions, an LSTM that reads the question, and four glimpses (Kazemi "
        "and Elqursh 2017). Pictures of any size are brought to 64x64 pixels.",
        example=_SCENE
        + 'answerer = pipeline("visual-question-answering", model=hf_attention.checkpoint("scenes-answerer"))\n'
        'print(answerer(image=picture, question="what colour is the heart ?", top_k=1))\n',
        limits=_DRAWN + "answers at random. It knows the questions of `hf_attention.scenes.questions`, in their "
        "words; others it answers as if they were one of these.",
        commands=("python scripts/answer_scenes.py --output_dir runs/scenes-answerer",),
        run="runs/scenes-answerer/best",
        measure=measures.answerer,
    ),
    "toy-translator": Recipe(
        task="translation",
        title="The translator into a toy language",
        about="Translates English captions of drawn scenes into the language of `hf_attention.scenes.toy_language`, "
        "in which adjectives stand behind their noun and agree with it, and relations and verbs come last. A GRU with "
        "additive attention (Bahdanau et al. 2015), which looks at the word that it translates. Its vocabulary is of "
        "words, without commas.",
        example=_TEXT + 'translator = pipeline("translation", model=hf_attention.checkpoint("toy-translator"))\n'
        'print(translator("a small red ring left of a lime crescent"))\n',
        limits=_WORDS,
        commands=(
            r'''python -c "from hf_attention.scenes import make_translations as make
make(train=100000, validation=200, test=300, variety=12).save_to_disk('runs/toy-sentences')"''',
            r"""python scripts/train_seq2seq.py --dataset_name runs/toy-sentences --source_lang en --target_lang qaa \
    --tokenizer_type word --min_count 1 --vocab_size 1000 --separate_vocabularies true --embedding_size 64 \
    --hidden_size 128 --rnn_type gru --encoder_hidden_size 64 --attention_size 32 --initial_state zeros \
    --encoder_skip_connection true --embedding_dropout 0.4 --hidden_dropout 0.3 --readout_dropout 0 \
    --memory_dropout 0 --learning_rate 4e-3 --warmup_steps 100 --batch_size 32 --ema_decay 0.98 \
    --num_train_epochs 1 --num_beams 1 --validation_num_beams 1 --overwrite_output_dir \
    --output_dir runs/toy-translator""",
        ),
        run="runs/toy-translator",
        measure=measures.translator,
        language=("en", "qaa"),
    ),
    "scenes-writer": Recipe(
        task="text-generation",
        title="The language model of captions of scenes",
        about="Writes captions of drawn scenes in twelve colours and twelve shapes: an LSTM whose every step attends "
        "to the 32 states before it. Its vocabulary is of words and commas.",
        example=_TEXT + 'writer = pipeline("text-generation", model=hf_attention.checkpoint("scenes-writer"))\n'
        'print(writer("there is a small", max_new_tokens=30, do_sample=False))\n',
        limits=f"{_WORDS} It has seen no pictures.",
        commands=(
            r'''python -c "from hf_attention.scenes import make_captions as make
splits = make(12000, 300, 300, 0, captions_per_scene=3, variety=12)
splits.save_to_disk('runs/scene-captions')"''',
            r"""python scripts/train_lm.py --dataset_name runs/scene-captions --tokenizer_type word_punct \
    --reset_state --columns 64 --eval_columns 64 --embedding_size 64 --hidden_size 128 --num_hidden_layers 1 \
    --attention_type additive --attention_size 64 --embedding_dropout 0.1 --hidden_dropout 0.1 \
    --readout_dropout 0.1 --learning_rate 5e-3 --num_train_epochs 4 --overwrite_output_dir \
    --output_dir runs/scenes-writer""",
        ),
        run="runs/scenes-writer",
        measure=measures.writer,
    ),
}
