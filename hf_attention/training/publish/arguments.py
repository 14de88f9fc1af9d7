"""What goes to the Hub."""

from dataclasses import dataclass, field
from typing import Literal

from ...arguments import CheckedArguments


@dataclass
class HubArguments(CheckedArguments):
    """What goes to the Hub, and what the model's card says beside the results."""

    push_to_hub: bool = field(
        default=False, metadata={"help": "Push the model to the Hub, by the token of HF_TOKEN or `hf auth login`."}
    )
    hub_model_id: str | None = field(
        default=None, metadata={"help": "Name on the Hub, with or without the user. Default: output_dir's last part."}
    )
    hub_private_repo: bool = field(default=False, metadata={"help": "Make a new repository private."})
    hub_strategy: Literal["end", "every_save"] = field(
        default="end",
        metadata={"help": "every_save: also push the best model so far with every checkpoint, in the background."},
    )
    license: str | None = field(default=None, metadata={"help": "Licence of the model, such as apache-2.0."})
    dataset_license: str | None = field(
        default=None, metadata={"help": "Licence of the data. Default: what the data set's own card says."}
    )
    language: list[str] | None = field(
        default=None, metadata={"help": "Languages of the model, as codes. Default: source_lang and target_lang."}
    )
    card_picture: bool = field(
        default=True,
        metadata={
            "help": "Put a picture of where the model looks into the card. It shows the first validation example: "
            "--no_card_picture where the data's licence forbids that."
        },
    )

    def __post_init__(self):
        super().__post_init__()
        for name in ("hub_model_id", "hub_private_repo", "hub_strategy"):
            if not self.push_to_hub and getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise ValueError(f"`{name}` needs `push_to_hub`.")
