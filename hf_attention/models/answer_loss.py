"""The loss of answers chosen among those that are known."""

import torch
from torch.nn import functional as F


def summed_answer_loss(
    logits: torch.Tensor, labels: torch.Tensor, problem_type: str, label_smoothing: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Args:
        logits (`torch.Tensor` of shape `(batch, num_labels)`):
            The answers' scores.
        labels (`torch.Tensor` of shape `(batch, num_labels)` or `(batch,)`):
            As [`AttentionVQAForQuestionAnswering.forward`] takes them.
        problem_type (`str`):
            `"multi_label_classification"`: sigmoids score the answers. `"single_label_classification"`: a softmax.
        label_smoothing (`float`, *optional*, defaults to 0.0):
            Share of the target spread evenly over the answers, under a softmax.

    Returns:
        `tuple`: the loss summed over the questions that count, and their number, at least 1.

    Raises:
        ValueError: Where labels are of a wrong shape, or no known answers.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    labels = labels.to(logits.device)
    of_labels = _loss_of_scores if labels.is_floating_point() else _loss_of_answers
    return of_labels(logits, labels, problem_type, label_smoothing)


def _loss_of_answers(
    logits: torch.Tensor, labels: torch.LongTensor, problem_type: str, label_smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    if problem_type != "single_label_classification":
        raise ValueError(
            f"`problem_type={problem_type!r}` needs a score for each answer as `labels`, of shape "
            f"{tuple(logits.shape)} and a floating-point dtype, got {labels.dtype}."
        )
    num_answers = logits.shape[1]
    is_known = (labels == -100) | (labels >= 0) & (labels < num_answers)
    if labels.shape != logits.shape[:1] or not is_known.all():
        raise ValueError(
            f"`labels` must be one answer for each of {len(logits)} questions, from 0 to {num_answers - 1}, "
            f"or -100; got shape {tuple(labels.shape)}, from {labels.min()} to {labels.max()}."
        )
    num_questions = (labels != -100).sum().clamp(min=1)
    return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing), num_questions


def _loss_of_scores(
    logits: torch.Tensor, labels: torch.Tensor, problem_type: str, label_smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    if labels.shape != logits.shape:
        raise ValueError(
            f"`labels` of scores must have shape {tuple(logits.shape)}, one for each answer, "
            f"got {tuple(labels.shape)}."
        )
    counts = (labels != -100).any(-1)
    logits, labels = logits[counts], labels[counts].to(logits.dtype)
    num_questions = counts.sum().clamp(min=1)
    is_possible = labels != -100
    labels = labels.masked_fill(~is_possible, 0)
    if problem_type != "single_label_classification":
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return losses[is_possible].sum(), num_questions
    logits = logits.masked_fill(~is_possible, torch.finfo(logits.dtype).min)
    labels = torch.lerp(labels, is_possible / is_possible.sum(-1, keepdim=True).to(labels.dtype), label_smoothing)
    return F.cross_entropy(logits, labels, reduction="sum"), num_questions
