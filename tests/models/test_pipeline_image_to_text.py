import base64
import copy
import http.server
import io
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from common import tiny_models
from common.folder_styles import to_old_style
from common.made import Made
from common.tiny_image_to_text_models import MODELS
from datasets import Dataset
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTModel,
    pipeline,
)
from transformers.pipelines.pt_utils import KeyDataset

from hf_attention import (
    AttentionCaptionerConfig,
    AttentionCaptionerForConditionalGeneration,
    AttentionCaptionerProcessor,
    ImageToTextPipeline,
)
from hf_attention.models.special_tokens import special_token_ids
from hf_attention.models.versions import AutoImageProcessor


PICTURES = tiny_models.make_pictures()
NAMES = ("blip", "git", "vision-encoder-decoder", "pix2struct")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return Made(
        lambda name: (
            save_captioner(root / name) if name == "captioner" else tiny_models.save_tiny_model(name, root, MODELS)
        )
    )


def save_captioner(folder: Path) -> Path:
    """A captioner of ours around a tiny ViT, filled like the others."""
    tokens = ["<pad>", "<unk>", "<s>", "</s>", *tiny_models.WORDS]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 3)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    config = AttentionCaptionerConfig(
        vocab_size=len(tokens),
        **special_token_ids(tokenizer),
        embedding_size=16,
        hidden_size=24,
        attention_size=16,
        memory_size=20,
        backbone_config=ViTConfig(**tiny_models.VISION),
        region_size=32,
    )
    AttentionCaptionerForConditionalGeneration(config).save_pretrained(folder)
    tiny_models.fill_weights(folder)
    image_processor = MODELS["vision-encoder-decoder"].image_processor
    (folder / "preprocessor_config.json").write_text(json.dumps(image_processor))
    image_processor = AutoImageProcessor.from_pretrained(folder)
    (folder / "preprocessor_config.json").unlink()
    AttentionCaptionerProcessor(image_processor, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def foreign(folders: dict[str, Path]) -> ImageToTextPipeline:
    return pipeline("image-to-text", model=str(folders["vision-encoder-decoder"]), device="cpu", max_new_tokens=6)


@pytest.fixture(scope="module")
def captioner(folders: dict[str, Path]) -> ImageToTextPipeline:
    return pipeline("image-to-text", model=str(folders["captioner"]), device="cpu", max_new_tokens=6)


def texts(answers: list[dict]) -> list[str]:
    return [answer["generated_text"] for answer in answers]


# As the model itself answers


@pytest.mark.parametrize("name", NAMES)
def test_answers_equal_generate_and_decode(name: str, folders: dict[str, Path]) -> None:
    model = AutoModelForImageTextToText.from_pretrained(folders[name])
    tokenizer = AutoTokenizer.from_pretrained(folders[name])
    image_processor = AutoImageProcessor.from_pretrained(folders[name])
    captioner = pipeline("image-to-text", model=model, tokenizer=tokenizer, image_processor=image_processor)
    for picture in PICTURES.values():
        inputs = image_processor(picture.convert("RGB"), return_tensors="pt")
        tokens = model.generate(**inputs, num_beams=2, max_new_tokens=5)
        expected = tokenizer.batch_decode(tokens, skip_special_tokens=True)
        assert texts(captioner(picture, max_new_tokens=5, generate_kwargs={"num_beams": 2})) == expected


# What goes in


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    for name, picture in PICTURES.items():
        picture.save(tmp_path / f"{name}.png")
    return [str(tmp_path / f"{name}.png") for name in PICTURES]


@pytest.fixture
def expected(foreign: ImageToTextPipeline) -> list[list[dict]]:
    answers = [foreign(picture) for picture in PICTURES.values()]
    assert len({answer[0]["generated_text"] for answer in answers}) == len(PICTURES)
    return answers


def test_one_image_in_every_form(foreign: ImageToTextPipeline, paths: list[str], expected: list) -> None:
    data = base64.b64encode(Path(paths[0]).read_bytes()).decode()
    forms = [paths[0], Path(paths[0]), PICTURES["circle"], data, f"data:image/png;base64,{data}"]
    for form in forms:
        assert foreign(form) == expected[0]
    assert foreign(images=paths[0]) == expected[0]
    assert foreign([paths[0]]) == [expected[0]]


def test_image_from_the_web(foreign: ImageToTextPipeline, paths: list[str], expected: list) -> None:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args) -> None:
            super().__init__(*args, directory=str(Path(paths[0]).parent))

        def log_message(self, *args) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        try:
            assert foreign(f"{address}/circle.png", timeout=20) == expected[0]
            with pytest.raises(ValueError, match="/nothing.png"):
                foreign(f"{address}/nothing.png", timeout=20)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_several_images_in_every_form(
    batch_size: int, foreign: ImageToTextPipeline, paths: list[str], expected: list
) -> None:
    dataset = Dataset.from_dict({"image": list(PICTURES.values())})
    pictures = list(PICTURES.values())
    arguments = {"batch_size": batch_size}
    columns = (pd.Series(paths), pd.Series(pictures), np.array(paths))
    for several in (paths, tuple(pictures), [paths[0], *pictures[1:]], dataset["image"], *columns):
        answers = foreign(several, **arguments)
        assert isinstance(answers, list)
        assert answers == expected
    stream = dataset.to_iterable_dataset()["image"]
    for several in ((picture for picture in pictures), map(Path, paths), KeyDataset(dataset, "image"), stream):
        answers = foreign(several, **arguments)
        assert not isinstance(answers, list)
        assert list(answers) == expected


def test_generator_is_read_only_as_far_as_it_is_asked(foreign: ImageToTextPipeline, expected: list) -> None:
    read = []

    def pictures():
        for name, picture in PICTURES.items():
            read.append(name)
            yield picture

    answers = iter(foreign(pictures()))
    assert next(answers) == expected[0]
    assert len(read) < len(PICTURES)


def test_workers_read_a_list(foreign: ImageToTextPipeline, paths: list[str], expected: list) -> None:
    assert foreign(paths, num_workers=2, batch_size=2) == expected


@pytest.mark.parametrize("empty", [[], ()])
def test_no_image_no_answer(empty: list | tuple, foreign: ImageToTextPipeline) -> None:
    assert foreign(empty) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (3, 3), (40, 3), (40, 1), (300, 2)])
@pytest.mark.parametrize("name", ["blip", "git", "vision-encoder-decoder", "captioner"])
def test_images_of_few_pixels(name: str, size: tuple[int, int], folders: dict[str, Path]) -> None:
    """A picture of one colour is that picture, however many pixels it has."""
    captioner = pipeline("image-to-text", model=str(folders[name]), device="cpu", max_new_tokens=4)
    colour = (200, 120, 10)
    assert captioner(Image.new("RGB", size, colour)) == captioner(Image.new("RGB", (32, 32), colour))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_images_of_every_mode(mode: str, foreign: ImageToTextPipeline) -> None:
    picture = PICTURES["checks"].convert(mode)
    assert foreign(picture) == foreign(picture.convert("RGB"))


def test_grey_of_16_bits(foreign: ImageToTextPipeline, tmp_path: Path) -> None:
    grey = np.asarray(PICTURES["checks"].convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    shallow = foreign.preprocess(Image.fromarray(grey))
    data = base64.b64encode((tmp_path / "deep.png").read_bytes()).decode()
    wide = Image.fromarray(grey.astype(np.int32) * 257)  # as Pillow opens some files
    for deep in (str(tmp_path / "deep.png"), data, Image.open(tmp_path / "deep.png"), wide):
        assert torch.equal(foreign.preprocess(deep)["pixel_values"], shallow["pixel_values"])
    for vague in (Image.fromarray(grey / np.float32(255)), Image.fromarray(grey.astype(np.int32) << 20)):
        with pytest.raises(ValueError, match="convert it to 8"):
            foreign(vague)


def test_image_is_turned_as_its_exif_says(foreign: ImageToTextPipeline, tmp_path: Path) -> None:
    turned = PICTURES["circle"].transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    assert foreign(str(tmp_path / "turned.png")) == foreign(PICTURES["circle"])


def test_pix2struct_sees_the_size_of_a_picture(folders: dict[str, Path]) -> None:
    captioner = pipeline("image-to-text", model=str(folders["pix2struct"]), device="cpu", max_new_tokens=4)
    for size in [(1, 1), (3, 1), (3, 3), (40, 3)]:
        assert len(texts(captioner(Image.new("RGB", size, (200, 120, 10))))) == 1


# Arguments


def test_generation_arguments(foreign: ImageToTextPipeline, folders: dict[str, Path]) -> None:
    picture = PICTURES["night"]
    words = texts(foreign(picture))[0].split()
    assert texts(foreign(picture, max_new_tokens=2))[0].split() == words[:2]
    assert texts(foreign(picture, generate_kwargs={"max_new_tokens": 3}))[0].split() == words[:3]
    longer = {"return_dict_in_generate": True, "num_beams": 4, "num_return_sequences": 3}
    assert len(foreign(picture, generate_kwargs=longer)) == 3
    beams = pipeline("image-to-text", model=str(folders["captioner"]), device="cpu", num_beams=2, max_new_tokens=4)
    asked = pipeline("image-to-text", model=str(folders["captioner"]), device="cpu")
    assert beams(picture) == asked(picture, max_new_tokens=4, generate_kwargs={"num_beams": 2})


def test_arguments_that_make_no_sense(foreign: ImageToTextPipeline) -> None:
    picture = PICTURES["circle"]
    with pytest.raises(ValueError, match="`max_new_tokens` is given twice"):
        foreign(picture, max_new_tokens=3, generate_kwargs={"max_new_tokens": 3})
    with pytest.raises(ValueError, match="`prompt` is one string"):
        foreign(picture, prompt=["a", "the"])
    with pytest.raises(ValueError, match="takes no `prompt`"):
        foreign(picture, prompt="a")
    with pytest.raises(ValueError, match="colour"):
        foreign(picture, colour="red")
    with pytest.raises(ValueError, match="got no `inputs`"):
        foreign(None)


# Images that are none


@pytest.fixture
def bad_files(tmp_path: Path) -> dict[str, str]:
    buffer = io.BytesIO()
    PICTURES["circle"].save(buffer, "PNG")
    contents = {"empty.png": b"", "text.jpg": b"no picture", "cut.png": buffer.getvalue()[: buffer.tell() // 2]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in [*contents, "missing.png"]}


@pytest.mark.parametrize("name", ["empty.png", "text.jpg", "cut.png", "missing.png"])
def test_file_that_is_no_image_is_named(name: str, foreign: ImageToTextPipeline, bad_files: dict[str, str]) -> None:
    for inputs in (bad_files[name], [PICTURES["circle"], bad_files[name]]):
        with pytest.raises(ValueError, match=f"Cannot read the image .*{name}"):
            foreign(inputs)


@pytest.mark.parametrize("item", [None, 3, b"bytes", {"bytes": b""}, [PICTURES["circle"]]])
def test_item_that_is_no_image_is_named(item, foreign: ImageToTextPipeline) -> None:
    items = [PICTURES["circle"], item]
    dataset = KeyDataset([{"image": each} for each in items], "image")
    for batch_size in (1, 2):
        for inputs in (items, tuple(items), iter(items), dataset):
            with pytest.raises(TypeError, match=f"At position 1 .* got {type(item).__name__}"):
                list(foreign(inputs, batch_size=batch_size))


def test_array_is_refused(foreign: ImageToTextPipeline) -> None:
    with pytest.raises(TypeError, match="ndarray"):
        foreign(np.zeros((8, 8, 3), np.uint8))


def test_long_text_is_not_repeated_in_the_error(foreign: ImageToTextPipeline) -> None:
    with pytest.raises(ValueError) as error:
        foreign("data:image/png;base64," + "x" * 10_000)
    assert len(str(error.value)) < 600


# Checkpoints that lack something


def test_no_default_model() -> None:
    with pytest.raises(ValueError, match="no default model"):
        pipeline("image-to-text")


@pytest.mark.parametrize("name", [*NAMES, "captioner"])
@pytest.mark.parametrize("part", ["tokenizer", "image_processor"])
def test_checkpoint_without_a_part(name: str, part: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders[name], tmp_path / name)
    for path in [*folder.glob("*processor*.json")] if part == "image_processor" else [*folder.glob("tokenizer*")]:
        path.unlink()
    with pytest.raises(ValueError, match=f"{part}.* {str(folder)!r}"):
        pipeline("image-to-text", model=str(folder), device="cpu")


def test_model_that_cannot_generate_is_refused() -> None:
    with pytest.raises(ValueError, match="ViTModel does not"):
        ImageToTextPipeline(ViTModel(ViTConfig(**tiny_models.VISION)))


def test_language_model_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=4, n_layer=1, n_head=1, **tiny_models.IDS)).save_pretrained(
        tmp_path
    )
    tokenizer = AutoTokenizer.from_pretrained(folders["blip"])
    with pytest.raises(ValueError, match="no image_processor"):
        pipeline("image-to-text", model=str(tmp_path), tokenizer=tokenizer, device="cpu")


# Models of this package


def test_captioner_answers_as_generate_and_decode(captioner: ImageToTextPipeline) -> None:
    processor, model = captioner.processor, captioner.model
    pictures = list(PICTURES.values())
    tokens = model.generate(**processor(images=pictures, return_tensors="pt"), max_new_tokens=6, num_beams=3)
    expected = processor.batch_decode(tokens, skip_special_tokens=True)
    answers = captioner(pictures, batch_size=2, generate_kwargs={"num_beams": 3})
    assert [texts(answer)[0] for answer in answers] == expected
    assert len(set(expected)) > 1


def test_captioner_goes_on_from_a_prompt(captioner: ImageToTextPipeline) -> None:
    picture = PICTURES["circle"]
    inputs = captioner.processor(images=picture, text="a red circle", return_tensors="pt")
    assert captioner.tokenizer.eos_token_id not in inputs["decoder_input_ids"]
    tokens = captioner.model.generate(**inputs, max_new_tokens=6)
    [answer] = captioner(picture, prompt="a red circle", output_attentions=True)
    assert answer["generated_text"] == captioner.tokenizer.decode(tokens[0], skip_special_tokens=True)
    assert answer["generated_text"].startswith("a red circle ")
    generated = captioner.tokenizer.convert_ids_to_tokens(tokens[0, inputs["decoder_input_ids"].shape[1] :].tolist())
    assert answer["tokens"] == generated
    assert answer["attentions"].shape == (len(generated), 16)


@pytest.mark.parametrize(
    "generate_kwargs", [{}, {"num_beams": 3}, {"num_beams": 4, "num_return_sequences": 3, "length_penalty": -2.0}]
)
def test_captioner_tells_where_it_looked(generate_kwargs: dict, captioner: ImageToTextPipeline) -> None:
    pictures = list(PICTURES.values())
    alone = [captioner(picture, output_attentions=True, generate_kwargs=generate_kwargs) for picture in pictures]
    batched = captioner(pictures, batch_size=3, output_attentions=True, generate_kwargs=generate_kwargs)
    for one, other in zip(alone, batched, strict=True):
        assert len(one) == len(other) == generate_kwargs.get("num_return_sequences", 1)
        for answer, in_batch in zip(one, other, strict=True):
            assert answer["generated_text"] == in_batch["generated_text"]
            assert answer["tokens"] == in_batch["tokens"]
            torch.testing.assert_close(answer["attentions"], in_batch["attentions"])
            assert answer["attentions"].shape == (len(answer["tokens"]), 16)
            torch.testing.assert_close(answer["attentions"].sum(-1), torch.ones(len(answer["tokens"])))
            words = [token for token in answer["tokens"] if token not in captioner.tokenizer.all_special_tokens]
            assert " ".join(words) == answer["generated_text"]


def test_attentions_as_a_default_of_the_pipeline(folders: dict[str, Path]) -> None:
    captioner = pipeline("image-to-text", model=str(folders["captioner"]), device="cpu", output_attentions=True)
    [answer] = captioner(PICTURES["circle"], max_new_tokens=3)
    assert set(answer) == {"generated_text", "attentions", "tokens", "regions", "grid"}
    assert set(captioner(PICTURES["circle"], output_attentions=False)[0]) == {"generated_text"}


@pytest.mark.parametrize("name", ["blip", "git", "vision-encoder-decoder"])
def test_model_that_gives_no_attention_has_no_maps(name: str, folders: dict[str, Path]) -> None:
    captioner = pipeline("image-to-text", model=str(folders[name]), device="cpu", max_new_tokens=3)
    with pytest.raises(ValueError, match="`output_attentions=True`: this .* gave no attention over an image"):
        captioner(PICTURES["circle"], output_attentions=True)


def test_foreign_model_that_attends_tells_where_it_looked(folders: dict[str, Path]) -> None:
    eager = {"attn_implementation": "eager"}
    captioner = pipeline(
        "image-to-text", model=str(folders["vision-encoder-decoder"]), device="cpu", model_kwargs=eager
    )
    pictures = list(PICTURES.values())
    # An end that some pictures come to and others do not: in a batch, the model goes on behind it.
    first = [captioner(picture, output_attentions=True, max_new_tokens=5)[0]["tokens"] for picture in pictures]
    end = captioner.tokenizer.convert_tokens_to_ids(first[0][1])
    asked = {"output_attentions": True, "max_new_tokens": 5, "generate_kwargs": {"eos_token_id": end}}
    alone = [captioner(picture, **asked) for picture in pictures]
    batched = captioner(pictures, batch_size=len(pictures), **asked)
    assert len({len(answer["tokens"]) for [answer] in alone}) > 1
    for [answer], [in_batch] in zip(alone, batched, strict=True):
        assert answer["tokens"] == in_batch["tokens"]
        assert answer["attentions"].shape == (len(answer["tokens"]), 17)  # 4 x 4 patches and the class token
        torch.testing.assert_close(answer["attentions"], in_batch["attentions"])
        torch.testing.assert_close(answer["attentions"].sum(-1), torch.ones(len(answer["tokens"])))


def test_assistant_changes_no_word(folders: dict[str, Path], captioner: ImageToTextPipeline) -> None:
    for assistant in (AutoModelForImageTextToText.from_pretrained(folders["captioner"]), str(folders["captioner"])):
        assisted = pipeline(
            "image-to-text", model=str(folders["captioner"]), device="cpu", assistant_model=assistant, max_new_tokens=6
        )
        for picture in PICTURES.values():
            assert assisted(picture) == captioner(picture)


def test_prompt_needs_the_processor_of_the_captioner(captioner: ImageToTextPipeline) -> None:
    """The tokenizer alone would put the closing token behind the prompt."""
    parts = {"tokenizer": captioner.tokenizer, "image_processor": captioner.image_processor}
    with pytest.raises(ValueError, match="attention_captioner .* pass `processor=`"):
        ImageToTextPipeline(captioner.model, **parts)(PICTURES["circle"], prompt="a red circle")


def test_a_prompt_goes_on_from_the_start_of_the_model(captioner: ImageToTextPipeline) -> None:
    """Whose configuration may name none: then the padding starts it, and not the tokenizer's start token."""
    model = copy.deepcopy(captioner.model)
    model.config.bos_token_id = None
    inputs = captioner.processor(images=PICTURES["circle"], return_tensors="pt")
    words = captioner.tokenizer("a red circle", add_special_tokens=False).input_ids
    tokens = model.generate(**inputs, decoder_input_ids=torch.tensor([[0, *words]]), max_new_tokens=6)
    made = ImageToTextPipeline(model, processor=captioner.processor, tokenizer=captioner.tokenizer)
    [answer] = made(PICTURES["circle"], prompt="a red circle", max_new_tokens=6)
    assert answer["generated_text"] == captioner.tokenizer.decode(tokens[0], skip_special_tokens=True)


def test_captioner_from_objects(folders: dict[str, Path], captioner: ImageToTextPipeline) -> None:
    model = AutoModelForImageTextToText.from_pretrained(folders["captioner"])
    processor = AttentionCaptionerProcessor.from_pretrained(folders["captioner"])
    again = pipeline("image-to-text", model=model, processor=processor, device="cpu", max_new_tokens=6)
    assert again(PICTURES["circle"]) == captioner(PICTURES["circle"])


def test_captioner_answers_to_image_text_to_text(
    folders: dict[str, Path], captioner: ImageToTextPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    modern = pipeline("image-text-to-text", model=str(folders["captioner"]), device="cpu")
    assert "not supported" not in caplog.text
    picture = PICTURES["circle"]
    [plain] = captioner(picture)
    assert modern(picture, text="", max_new_tokens=6)[0]["generated_text"] == plain["generated_text"]
    [prompted] = captioner(picture, prompt="a red circle")
    answer = modern(picture, text="a red circle", max_new_tokens=6)[0]["generated_text"]
    assert answer == prompted["generated_text"]


@pytest.mark.parametrize("name", ["blip", "vision-encoder-decoder", "captioner"])
def test_saved_pipeline_loads_again(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    before = pipeline("image-to-text", model=str(folders[name]), device="cpu", max_new_tokens=5)
    before.save_pretrained(tmp_path)
    after = pipeline("image-to-text", model=str(tmp_path), device="cpu", max_new_tokens=5)
    assert after(PICTURES["waves"]) == before(PICTURES["waves"])
    if name != "captioner":
        assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text())


# Settings of generation in a checkpoint


@pytest.mark.parametrize("name", NAMES)
def test_old_defaults_are_no_wish(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """As configurations of before generation_config.json wrote them out; and saved again by this transformers."""
    folder = to_old_style(shutil.copytree(folders[name], tmp_path / "old"))
    captioner = pipeline("image-to-text", model=str(folder), device="cpu")
    captioner.save_pretrained(tmp_path / "again")
    for made in (captioner, pipeline("image-to-text", model=str(tmp_path / "again"), device="cpu")):
        asked = made.prepare_generate_kwargs({})
        assert getattr(asked.get("generation_config"), "max_new_tokens", asked.get("max_new_tokens")) == 256


@pytest.mark.parametrize("name", ["blip", "git"])
def test_generation_configuration_of_the_checkpoint_holds(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """Also of a model whose `generate()` hands its arguments on to a part's."""
    folder = shutil.copytree(folders[name], tmp_path / "model")
    wished = {"max_length": 9, "num_beams": 3, "repetition_penalty": 3.0}
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wished))
    captioner = pipeline("image-to-text", model=str(folder), device="cpu")
    for picture in PICTURES.values():
        pixels = captioner.image_processor(picture, return_tensors="pt").pixel_values
        tokens = captioner.model.generate(pixel_values=pixels, **wished)
        [answer] = captioner(picture)
        assert answer["generated_text"] == captioner.tokenizer.decode(tokens[0], skip_special_tokens=True)
        tokens = captioner.model.generate(pixel_values=pixels, **wished | {"max_length": None, "max_new_tokens": 3})
        [answer] = captioner(picture, max_new_tokens=3)
        assert answer["generated_text"] == captioner.tokenizer.decode(tokens[0], skip_special_tokens=True)


def test_blip_without_padding(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["blip"], tmp_path / "blip")
    (folder / "generation_config.json").unlink()
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["pad_token_id"] = None
    path.write_text(json.dumps(config))
    assert pipeline("image-to-text", model=str(folder), device="cpu")(PICTURES["circle"], max_new_tokens=3)
