"""What every training script does around the training: the folder of the run, its tokenizer, its end."""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from accelerate.utils import set_seed
from huggingface_hub import ModelCard
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

from ..data.tokenization import TOKENIZER_FOLDER, tokenizer_of_run
from ..files import named_on_error, replace_files
from ..publish.arguments import HubArguments
from ..publish.card_picture import PICTURE_FILE, save_picture
from ..publish.hub import HubPublisher
from ..publish.model_card import write_model_card
from ..publish.results import print_scores, write_results
from ..recipes import RecipeArguments
from .arguments import LoopArguments
from .checkpoints import prepare_output_dir
from .train import TrainingResult, make_accelerator


if TYPE_CHECKING:
    from matplotlib.figure import Figure

AnyModel = TypeVar("AnyModel", bound=PreTrainedModel)


class Run:
    """
    One run of a training script. Making it checks, before anything costly, that its folder is free and that the
    Hub can be written to; a dry run pushes nothing.

    Args:
        loop_args ([`LoopArguments`]):
            Folder, seed, and where the run resumes.
        hub_args ([`HubArguments`]):
            What goes to the Hub.

    Raises:
        HubError: If the Hub cannot be written to.
        ValueError: If another run lies in the folder, or there is no whole checkpoint to resume from.
    """

    def __init__(self, loop_args: LoopArguments, hub_args: HubArguments):
        self.loop_args = loop_args
        self._hub_args = hub_args
        self.accelerator = make_accelerator(loop_args)
        self.output_dir = Path(loop_args.output_dir)
        is_main = self.accelerator.is_main_process
        if is_main:
            prepare_output_dir(loop_args)
        self.accelerator.wait_for_everyone()
        self._hub = HubPublisher(hub_args, self.output_dir, is_main and not loop_args.dry_run)
        set_seed(loop_args.seed)

    def tokenizer(self, make: Callable[[], PreTrainedTokenizerFast]) -> PreTrainedTokenizerFast:
        """The run's one tokenizer, see [`~hf_attention.training.data.tokenization.tokenizer_of_run`]."""
        resumes = self.loop_args.resume_from_checkpoint is not None
        if resumes and not (self.output_dir / TOKENIZER_FOLDER).is_dir():
            raise ValueError(
                f"`resume_from_checkpoint` is {self.loop_args.resume_from_checkpoint!r}, of a run that made no "
                "tokenizer but took that of a trained model: give its `model_name_or_path` again."
            )
        return tokenizer_of_run(make, self.output_dir, resumes, self.accelerator)

    def saving(
        self, processor: PreTrainedTokenizerFast | ProcessorMixin
    ) -> Callable[[PreTrainedModel, str | Path], None]:
        """
        What saves a model with its tokenizer or processor, for [`~hf_attention.training.loop.train.train`]; with
        `hub_strategy="every_save"` it also pushes them, in the background.
        """
        return self._hub.pushing(partial(_save, processor))

    def rehearse(
        self,
        model: PreTrainedModel,
        processor: PreTrainedTokenizerFast | ProcessorMixin,
        task: str,
        arguments: Sequence[Any],
        evaluate: Callable[[PreTrainedModel], Mapping[str, float]],
        draw: Callable[[PreTrainedModel], "Figure | None"] | None = None,
    ) -> None:
        """
        Does before the first step what there will be to do behind the last, so that what fails, fails now: evaluates,
        and into a folder that it removes saves the model, with its processor and generation settings, and the card.

        Args:
            model (`PreTrainedModel`):
                The model before training, which is moved to this process's device.
            processor, task, arguments, draw:
                As for [`~Run.finish`].
            evaluate (`Callable`):
                Takes the model and returns the metrics of a few examples.

        Raises:
            HubError: If the Hub does not take the card.
            ValueError: If one of the arguments does not fit.
            OSError: If the output folder cannot be written to.
        """
        scores = dict(evaluate(model.to(self.accelerator.device).eval()))
        self.loop_args.check_metric(scores)
        if not self.accelerator.is_main_process:
            return
        with _rehearsal_folder(self.output_dir) as folder:
            with named_on_error(folder):
                model.save_pretrained(folder)
            loaded = type(model).from_pretrained(folder).to(self.accelerator.device).eval()
            card = self._write(folder, loaded, processor, task, arguments, {"validation": scores}, draw)
            self._hub.check(card)

    def best_model(self, result: TrainingResult, model_class: type[AnyModel]) -> AnyModel:
        """The best model of the training, in evaluation mode, on this process's device."""
        return model_class.from_pretrained(result.best_model).to(self.accelerator.device).eval()

    def finish(
        self,
        model: PreTrainedModel,
        processor: PreTrainedTokenizerFast | ProcessorMixin,
        task: str,
        arguments: Sequence[Any],
        results: dict[str, Any],
        draw: Callable[[PreTrainedModel], "Figure | None"] | None = None,
    ) -> None:
        """
        Writes model, processor, results.json and the model card into the run's folder, and pushes them if asked.

        Args:
            model (`PreTrainedModel`):
                The model that the run is for.
            processor (`PreTrainedTokenizerFast` or `ProcessorMixin`):
                Its tokenizer or processor.
            task (`str`):
                The task of its pipeline.
            arguments (`Sequence`):
                All dataclasses of the run, for the card.
            results (`dict`):
                What the run found, see [`~hf_attention.training.publish.results.write_results`].
            draw (`Callable`, *optional*):
                Takes the model and draws the card's picture of where it looks.

        Raises:
            HubError: If it could not be pushed; the folder is whole.
        """
        if self.accelerator.is_main_process:
            self._write(self.output_dir, model, processor, task, arguments, results, draw)
            print_scores(results)
            print(f"The model, its card and its scores are in {self.output_dir}.", file=sys.stderr)
            self._hub.finish()
        self.accelerator.end_training()

    def _write(
        self,
        folder: Path,
        model: PreTrainedModel,
        processor: PreTrainedTokenizerFast | ProcessorMixin,
        task: str,
        arguments: Sequence[Any],
        results: dict[str, Any],
        draw: Callable[[PreTrainedModel], "Figure | None"] | None,
    ) -> ModelCard:
        """Writes all that a run leaves into a folder; the card comes last, and once more with its picture."""
        replace_files(folder, partial(_save, processor, model))
        facts = {"seed": self.loop_args.seed, "trained_parameters": model.num_parameters(only_trainable=True)}
        for group in arguments:
            if isinstance(group, RecipeArguments) and group.recipe is not None:
                facts["recipe"] = group.contents
        write_results(folder, facts | results)
        (folder / PICTURE_FILE).unlink(missing_ok=True)  # an earlier run's
        card = write_model_card(folder, task, arguments, self._hub.name)
        if draw is not None and self._hub_args.card_picture:
            picture = save_picture(lambda: draw(model), folder)
            if picture is not None:
                card = write_model_card(folder, task, arguments, self._hub.name, picture)
        return card


@contextmanager
def _rehearsal_folder(output_dir: Path) -> Iterator[Path]:
    """A folder for what is written but to see whether it can be. Its name is one that the next run removes."""
    folder = output_dir / ".rehearsal.partial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _save(processor: PreTrainedTokenizerFast | ProcessorMixin, model: PreTrainedModel, folder: str | Path) -> None:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
