"""
A fifth model, as a user writes it: sound as a memory, in a file of its own. With its declaration alone it goes through
the suite that all models go through, Auto classes and pipelines know it, and its checkpoints work without the package.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import test_alignment
import test_cache
import test_configuration
import test_decoder
import test_devices
import test_generation
import test_loss
import test_versions
import torch
from common.factories import END, ModelFactory, ragged_mask, suite_of
from common.remote_code import import_source, run_without_the_package
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline

from hf_attention.training.data.tokenization import train_tokenizer


SOURCE = '''
"""Writes what is said: the memory is the frames of a sound."""

import torch
from torch import nn
from transformers import AutoModel, AutoModelForSpeechSeq2Seq, BatchFeature, GenerationMixin, ProcessorMixin
from transformers.utils import can_return_tuple

from hf_attention import AttentionDecoder, AttentionDecoderConfig, declare
from hf_attention.models.arguments import refuse_unknown
from hf_attention.models.generation import AttentionGenerationMixin
from hf_attention.models.modeling_attention import (
    AttentionConditionalGenerationModel,
    AttentionEncoderDecoderModel,
    AttentionPreTrainedModel,
)
from hf_attention.models.outputs import EncoderOutput
from hf_attention.models.pipeline_generating import GeneratingPipeline
from hf_attention.models.remote_code import CarriesCode
from hf_attention.models.versions import strict, takes_cache


@strict
class AudioConfig(AttentionDecoderConfig):
    """A decoder's configuration, and how many numbers a frame of the sound has."""

    model_type = "audio_for_a_test"

    frame_size: int = 80


class FrameEncoder(nn.Module):
    """A linear map of each frame, and a layer norm."""

    main_input_name = "input_features"

    def __init__(self, config):
        super().__init__()
        self.projection = nn.Linear(config.frame_size, config.memory_size)
        self.norm = nn.LayerNorm(config.memory_size)

    def forward(self, input_features=None, attention_mask=None, return_dict=True, **kwargs):
        if input_features is None or input_features.ndim != 3:
            raise ValueError("Pass `input_features` of shape (batch, frames, frame_size).")
        if attention_mask is not None and not attention_mask.any(1).all():
            silent = (~attention_mask.bool().any(1)).nonzero().flatten().tolist()
            raise ValueError(f"The sounds {silent} are padding as a whole.")
        memory = self.norm(self.projection(input_features.to(self.projection.weight.dtype)))
        output = EncoderOutput(last_hidden_state=memory, memory_mask=attention_mask)
        return output if return_dict else output.to_tuple()


class AudioPreTrainedModel(AttentionPreTrainedModel):
    config_class = AudioConfig
    main_input_name = "input_features"
    input_modalities = ("audio",)


class AudioModel(AudioPreTrainedModel, AttentionEncoderDecoderModel):
    def __init__(self, config):
        super().__init__(config)
        self.encoder = FrameEncoder(config)
        self.decoder = AttentionDecoder(config)
        self.post_init()

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        input_features=None,
        attention_mask=None,
        encoder_outputs=None,
        decoder_input_ids=None,
        decoder_inputs_embeds=None,
        decoder_attention_mask=None,
        cache=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
        **kwargs,
    ):
        refuse_unknown(kwargs)
        return self.run(
            {"input_features": input_features, "attention_mask": attention_mask},
            encoder_outputs,
            decoder_input_ids=decoder_input_ids,
            decoder_inputs_embeds=decoder_inputs_embeds,
            decoder_attention_mask=decoder_attention_mask,
            cache=cache,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )


class AudioForConditionalGeneration(
    AudioPreTrainedModel, AttentionConditionalGenerationModel, AttentionGenerationMixin, GenerationMixin
):
    def __init__(self, config):
        super().__init__(config)
        self.model = AudioModel(config)
        self.lm_head = nn.Linear(config.readout_size, config.vocab_size)
        self.post_init()
        self.set_generation_defaults(max_length=40)

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        input_features=None,
        attention_mask=None,
        encoder_outputs=None,
        decoder_input_ids=None,
        decoder_inputs_embeds=None,
        decoder_attention_mask=None,
        cache=None,
        labels=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
        logits_to_keep=0,
        num_items_in_batch=None,
        token_weights=None,
        **kwargs,
    ):
        refuse_unknown(kwargs)
        return self.run(
            labels,
            logits_to_keep,
            num_items_in_batch,
            decoder_input_ids,
            decoder_inputs_embeds,
            use_cache,
            output_attentions,
            token_weights,
            output_hidden_states,
            input_features=input_features,
            attention_mask=attention_mask,
            encoder_outputs=encoder_outputs,
            decoder_attention_mask=decoder_attention_mask,
            cache=cache,
        )


class AudioProcessor(CarriesCode, ProcessorMixin):
    """Pads sounds to one length, and tokenizes what is said in them."""

    def __init__(self, tokenizer=None, **kwargs):
        super().__init__(tokenizer, **kwargs)

    def __call__(self, sounds, text_target=None, **kwargs):
        lengths = torch.tensor([len(sound) for sound in sounds])
        frames = nn.utils.rnn.pad_sequence([torch.as_tensor(sound) for sound in sounds], batch_first=True)
        mask = (torch.arange(frames.shape[1]) < lengths.unsqueeze(1)).long()
        features = {"input_features": frames, "attention_mask": mask}
        if text_target is not None:
            features["labels"] = self.tokenizer(text_target, return_tensors="pt").input_ids
        return BatchFeature(features)


class AudioToTextPipeline(GeneratingPipeline):
    """Writes what is said in a sound, given as frames."""

    task_name = "audio-to-text"
    task_aliases = ("hearing",)
    modality = "audio"
    auto_class = AutoModelForSpeechSeq2Seq
    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def _sanitize_parameters(self, **generate_kwargs):
        return {}, generate_kwargs, {}

    def preprocess(self, sound):
        return self.processor([sound])

    def _forward(self, inputs, **generate_kwargs):
        return {"sequences": self.model.generate(**inputs, **self.prepare_generate_kwargs(generate_kwargs))}

    def postprocess(self, outputs):
        return {"text": self.tokenizer.decode(outputs["sequences"][0], skip_special_tokens=True)}


declare(
    AudioConfig,
    classes={AutoModel: AudioModel, AutoModelForSpeechSeq2Seq: AudioForConditionalGeneration},
    processor=AudioProcessor,
    pipelines=[AudioToTextPipeline],
)
'''
audio = import_source("audio_for_a_test", SOURCE)


def make_sounds(items: int) -> dict[str, torch.Tensor]:
    mask = ragged_mask(items)
    generator = torch.Generator().manual_seed(50 + items)
    return {"input_features": torch.randn(*mask.shape, 9, generator=generator), "attention_mask": mask}


AUDIO = ModelFactory(
    name="audio",
    model_class=audio.AudioForConditionalGeneration,
    config_class=audio.AudioConfig,
    settings={"frame_size": 9},
    make_inputs=make_sounds,
    content="input_features",
    mask="attention_mask",
    end_bias=1.5,
    share=3,
)
OVER_MODELS = [AUDIO]
globals().update(
    suite_of(
        test_alignment,
        test_cache,
        test_configuration,
        test_decoder,
        test_devices,
        test_generation,
        test_loss,
        test_versions,
    )
)

SENTENCES = ["a small red circle", "a large blue square"]
SOUND = torch.arange(36.0).reshape(4, 9).sin() * 3
WITHOUT_THE_PACKAGE = """
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline

folder, out = sys.argv[1:]
sound = torch.arange(36.0).reshape(4, 9).sin() * 3
model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
inputs = processor([sound])
base = AutoModel.from_pretrained(folder, trust_remote_code=True)
assert type(base).__name__ == "AudioModel" and type(base).__module__.startswith("transformers_modules."), type(base)
tokens = model.generate(**inputs, num_beams=3, max_new_tokens=6)
with torch.no_grad():
    states = base(**inputs, decoder_input_ids=tokens).last_hidden_state
save_file({"tokens": tokens, "states": states}, out + "/tensors.safetensors")
hearer = pipeline("audio-to-text", folder, device="cpu", trust_remote_code=True)
print("SAID " + hearer(sound, max_new_tokens=6)["text"])
model.save_pretrained(out + "/again")
processor.save_pretrained(out + "/again")
"""


def make_parts() -> tuple:
    tokenizer = train_tokenizer(SENTENCES, min_count=1)
    model = AUDIO.make_model(vocab_size=len(tokenizer))
    with torch.no_grad():
        model.lm_head.bias[: END + 1] = -10  # words only
    return model, audio.AudioProcessor(tokenizer)


def test_auto_classes_and_pipelines_know_it(tmp_path: Path) -> None:
    assert type(AutoConfig.for_model("audio_for_a_test", frame_size=9)) is audio.AudioConfig
    model, processor = make_parts()
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is audio.AudioModel
    assert type(AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)) is audio.AudioForConditionalGeneration
    assert type(AutoProcessor.from_pretrained(tmp_path)) is audio.AudioProcessor
    expected = processor.decode(model.generate(**processor([SOUND]), max_new_tokens=6)[0], skip_special_tokens=True)
    assert len(expected.split()) == 6
    for task in ("audio-to-text", "hearing"):
        assert pipeline(task, str(tmp_path), device="cpu")(SOUND, max_new_tokens=6) == {"text": expected}


@pytest.mark.parametrize("processor_first", [False, True])
def test_its_checkpoint_works_without_the_package(processor_first: bool, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    model, processor = make_parts()
    for part in (processor, model) if processor_first else (model, processor):
        part.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["auto_map"] == {
        "AutoConfig": "audio_for_a_test.AudioConfig",
        "AutoModel": "audio_for_a_test.AudioModel",
        "AutoModelForSpeechSeq2Seq": "audio_for_a_test.AudioForConditionalGeneration",
    }
    assert config["custom_pipelines"]["audio-to-text"]["impl"] == "audio_for_a_test.AudioToTextPipeline"
    code = (folder / "audio_for_a_test.py").read_text()
    assert "hf_attention" not in code and "from .decoder import AttentionDecoder\n" in code

    inputs = processor([SOUND])
    tokens = model.generate(**inputs, num_beams=3, max_new_tokens=6)
    with torch.no_grad():
        states = model.model(**inputs, decoder_input_ids=tokens).last_hidden_state
    said = pipeline("audio-to-text", str(folder), device="cpu")(SOUND, max_new_tokens=6)["text"]
    again = tmp_path / "first" / "again"
    for place, out in ((folder, "first"), (again, "second")):
        printed = run_without_the_package(WITHOUT_THE_PACKAGE, tmp_path / out, place, tmp_path / out)
        tensors = load_file(tmp_path / out / "tensors.safetensors")
        assert tensors["tokens"].equal(tokens)
        torch.testing.assert_close(tensors["states"], states)
        assert f"SAID {said}\n" in printed
    assert {path.name for path in again.iterdir()} == {path.name for path in folder.iterdir()}


def test_what_cannot_travel_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Saving says which line will need the package; two files of one name are refused."""
    source = SOURCE.replace("audio_for_a_test", "audio_needing_more")
    needing = import_source("audio_needing_more", source + "import hf_attention.seeing\n")
    needing.AudioConfig().save_pretrained(tmp_path / "needing")
    assert "import hf_attention.seeing\n" in (tmp_path / "needing" / "audio_needing_more.py").read_text()
    line = source.count("\n") + 1
    assert f"audio_needing_more.py, line {line}: the code of this checkpoint will need hf_attention" in caplog.text
    clashing = import_source("decoder", SOURCE.replace("audio_for_a_test", "audio_of_another_name"))
    with pytest.raises(ValueError, match="have one name: rename yours"):
        clashing.AudioConfig().save_pretrained(tmp_path / "clashing")


def test_it_may_be_a_script(tmp_path: Path) -> None:
    """Then its code does not travel, as transformers warns; all else works."""
    script = tmp_path / "script.py"
    script.write_text(SOURCE + "AudioForConditionalGeneration(AudioConfig()).save_pretrained('saved')\n")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "auto_map" not in json.loads((tmp_path / "saved" / "config.json").read_text())
