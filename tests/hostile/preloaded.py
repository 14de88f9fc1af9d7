"""What a server of processes imports before it forks them."""

import torch
from common import scripts  # noqa: F401

from hf_attention.training.tasks.answering import main as answering  # noqa: F401
from hf_attention.training.tasks.captioning import main as captioning  # noqa: F401
from hf_attention.training.tasks.language_modeling import main as language_modeling  # noqa: F401
from hf_attention.training.tasks.translating import main as translating  # noqa: F401


torch.set_num_threads(1)
