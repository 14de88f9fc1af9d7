"""
Encoder and decoder as the papers write them: one row, one step, one position at a time, with nothing of the package
but the weights. Masked positions and padding tokens are not there at all, instead of being masked.
"""

import torch


def softmax(scores: torch.Tensor) -> torch.Tensor:
    exponentials = torch.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + torch.exp(-x))


def lstm_step(
    weights: dict[str, torch.Tensor], name: str, x: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Hochreiter and Schmidhuber with forget gates, the four gates in the order i, f, g, o.

    Args:
        weights: Those of an `nn.LSTM` of the name `rnn`.
        name: The layer: `"l0"`, or `"l0_reverse"`.
    """
    gates = weights[f"rnn.weight_ih_{name}"] @ x + weights[f"rnn.bias_ih_{name}"]
    gates = gates + weights[f"rnn.weight_hh_{name}"] @ hidden + weights[f"rnn.bias_hh_{name}"]
    n = hidden.shape[0]
    i, f, g, o = gates[:n], gates[n : 2 * n], gates[2 * n : 3 * n], gates[3 * n :]
    cell = sigmoid(f) * cell + sigmoid(i) * torch.tanh(g)
    return sigmoid(o) * torch.tanh(cell), cell


def gru_step(weights: dict[str, torch.Tensor], name: str, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Cho et al. 2014, with the reset gate behind the matrix product: r, z, n. Arguments as for `lstm_step`."""
    from_input = weights[f"rnn.weight_ih_{name}"] @ x + weights[f"rnn.bias_ih_{name}"]
    from_hidden = weights[f"rnn.weight_hh_{name}"] @ hidden + weights[f"rnn.bias_hh_{name}"]
    n = hidden.shape[0]
    r = sigmoid(from_input[:n] + from_hidden[:n])
    z = sigmoid(from_input[n : 2 * n] + from_hidden[n : 2 * n])
    new = torch.tanh(from_input[2 * n :] + r * from_hidden[2 * n :])
    return (1 - z) * new + z * hidden


def read_sentence(
    weights: dict[str, torch.Tensor], embeddings: list[torch.Tensor], layers: int, bidirectional: bool, is_lstm: bool
) -> tuple[torch.Tensor, list[list[tuple[torch.Tensor, ...]]]]:
    """
    A recurrent encoder over one sentence.

    Args:
        weights: Those of an `nn.LSTM` or `nn.GRU` of the name `rnn`.
        embeddings: Of the tokens, all of them real.

    Returns:
        The memory `(tokens, directions * size)`, and for each layer and direction the last state: the hidden one,
        and of an LSTM the cell.
    """
    finals, size = [], weights["rnn.weight_hh_l0"].shape[1]
    for layer in range(layers):
        outputs, states = [], []
        for suffix in ("", "_reverse") if bidirectional else ("",):
            state = (embeddings[0].new_zeros(size),) * (2 if is_lstm else 1)
            read = []
            for x in reversed(embeddings) if suffix else embeddings:
                name = f"l{layer}{suffix}"
                state = lstm_step(weights, name, x, *state) if is_lstm else (gru_step(weights, name, x, *state),)
                read.append(state[0])
            outputs.append(read[::-1] if suffix else read)
            states.append(state)
        embeddings = [torch.cat(both) for both in zip(*outputs, strict=True)]
        finals.append(states)
    return torch.stack(embeddings), finals


class ReferenceDecoder:
    """
    Args:
        model: A model with `model.decoder` and `lm_head`, whose parameters are used as they are: gradients reach them.
    """

    def __init__(self, model: torch.nn.Module):
        self.config = model.config
        self.weights = dict(model.model.decoder.named_parameters())
        self.output = model.lm_head

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        result = self.weights[f"{name}.weight"] @ x
        return result + self.weights[f"{name}.bias"] if f"{name}.bias" in self.weights else result

    def scores(self, query: torch.Tensor, memory: torch.Tensor, coverage: torch.Tensor) -> torch.Tensor:
        kind, scores = self.config.attention_type, []
        for j, position in enumerate(memory):
            if kind == "additive":
                inner = self.linear("attention.query_proj", query) + self.linear("attention.key_proj", position)
                if self.config.coverage:
                    inner = inner + self.linear("attention.coverage_proj", coverage[j : j + 1])
                scores.append(self.linear("attention.score_proj", torch.tanh(inner))[0])
            elif kind == "dot":
                scores.append((query * position).sum())
            elif kind == "general":
                scores.append((query * (self.weights["attention.key_proj.weight"] @ position)).sum())
        return torch.stack(scores)

    def attend(self, query: torch.Tensor, memory: torch.Tensor, coverage: torch.Tensor) -> tuple:
        """The context, and the weights of every head."""
        if self.config.attention_type != "scaled_dot":
            weights = softmax(self.scores(query, memory, coverage))
            return sum(weight * position for weight, position in zip(weights, memory, strict=True)), weights[None]
        size = self.config.attention_size // self.config.num_attention_heads
        query = self.linear("attention.query_proj", query)
        keys = [self.linear("attention.key_proj", position) for position in memory]
        values = [self.linear("attention.value_proj", position) for position in memory]
        contexts, heads = [], []
        for head in range(self.config.num_attention_heads):
            part = slice(head * size, (head + 1) * size)
            weights = softmax(torch.stack([(query[part] * key[part]).sum() / size**0.5 for key in keys]))
            contexts.append(sum(weight * value[part] for weight, value in zip(weights, values, strict=True)))
            heads.append(weights)
        return self.linear("attention.output_proj", torch.cat(contexts)), torch.stack(heads)

    def read_out(self, hidden: torch.Tensor, context: torch.Tensor | None, embedding: torch.Tensor) -> torch.Tensor:
        if not self.config.readout_layer:
            return hidden
        parts = [hidden] if context is None else [hidden, context]
        x = self.linear("readout", torch.cat([*parts, embedding] if self.config.readout_embedding else parts))
        if self.config.readout_activation == "tanh":
            return torch.tanh(x)
        if self.config.readout_activation == "maxout":
            return torch.stack([torch.maximum(x[2 * i], x[2 * i + 1]) for i in range(x.shape[0] // 2)])
        return x

    def row(self, memory: torch.Tensor | None, tokens: list[int]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            memory: `(positions, memory_size)`, all of them real. `None`: the model's own last states.
            tokens: All of them real.

        Returns:
            Logits `(steps, vocabulary)` and attention weights `(heads, steps, positions)`.
        """
        attends_to_past = memory is None
        config, size = self.config, self.config.hidden_size
        layers, is_lstm = config.num_hidden_layers, config.rnn_type == "lstm"
        states = [self.output.weight.new_zeros(size)] * (2 * layers)
        if config.initial_state == "memory_mean":
            start = torch.tanh(self.linear("initial_state", sum(memory) / len(memory)))
            states = [start[i * size : (i + 1) * size] for i in range(layers * (2 if is_lstm else 1))]
        hidden, cell = states[:layers], states[layers:]
        feed = self.output.weight.new_zeros(config.readout_size)
        coverage = None if attends_to_past else memory.new_zeros(len(memory))
        past, logits, maps = [hidden[-1]], [], []
        for token in tokens:
            embedding = self.weights["embed_tokens.weight"][token]
            if attends_to_past:
                memory = torch.stack(past[-config.attention_window :])
            context, x = None, embedding
            if config.attention_type is not None and config.attention_order == "before_rnn":
                context, weights = self.attend(hidden[-1], memory, coverage)
                if config.context_gate:
                    context = sigmoid(self.linear("context_gate", hidden[-1])) * context
                x = torch.cat([embedding, context])
            elif config.input_feeding:
                x = torch.cat([embedding, feed])
            for layer in range(layers):
                if is_lstm:
                    hidden[layer], cell[layer] = lstm_step(self.weights, f"l{layer}", x, hidden[layer], cell[layer])
                else:
                    hidden[layer] = gru_step(self.weights, f"l{layer}", x, hidden[layer])
                x = hidden[layer]
            if config.attention_type is not None and config.attention_order == "after_rnn":
                context, weights = self.attend(hidden[-1], memory, coverage)
            if config.coverage:
                coverage = coverage + weights[0]
            past.append(hidden[-1])
            feed = self.read_out(hidden[-1], context, embedding)
            logits.append(self.output.weight @ feed + self.output.bias)
            if context is not None:
                missing = config.attention_window - len(memory) if attends_to_past else 0
                maps.append(torch.nn.functional.pad(weights, (missing, 0)))
        return torch.stack(logits), torch.stack(maps, 1) if maps else None

    def behind(
        self, prompts: torch.LongTensor, tokens: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Of a model without an encoder.

        Args:
            prompts: `(rows, tokens)`, all of them real.
            tokens: `(rows, target)`; what follows the prompts.
            attention_mask: `(rows, target)`.

        Returns:
            As `__call__`, of `tokens` alone.
        """
        rows, length = tokens.shape
        attention_mask = torch.ones_like(tokens) if attention_mask is None else attention_mask
        config, weight = self.config, self.output.weight
        logits = weight.new_zeros(rows, length, weight.shape[0])
        maps = weight.new_zeros(rows, config.num_attention_heads, length, config.attention_window)
        for row, prompt in enumerate(prompts.tolist()):
            steps = attention_mask[row].nonzero().flatten()
            row_logits, row_maps = self.row(None, [*prompt, *tokens[row, steps].tolist()])
            logits[row, steps] = row_logits[len(prompt) :]
            if row_maps is not None:
                maps[row, :, steps] = row_maps[:, len(prompt) :]
        return logits, None if config.attention_type is None else maps

    def __call__(
        self,
        memory: torch.Tensor,
        memory_mask: torch.Tensor | None,
        tokens: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            memory: `(batch, positions, memory_size)`.
            memory_mask: `(batch, positions)`.
            tokens: `(rows, target)`; `rows / batch` rows in turn belong to each memory.
            attention_mask: `(rows, target)`.

        Returns:
            Logits `(rows, target, vocabulary)`, zero where a token is padding, and attention weights `(rows, heads,
            target, positions)`, zero there and on masked positions.
        """
        rows, length = tokens.shape
        attention_mask = torch.ones_like(tokens) if attention_mask is None else attention_mask
        if memory_mask is None:
            memory_mask = memory.new_ones(memory.shape[:2])
        logits = memory.new_zeros(rows, length, self.output.weight.shape[0])
        maps = memory.new_zeros(rows, self.config.num_attention_heads, length, memory.shape[1])
        for row in range(rows):
            item = row * memory.shape[0] // rows
            positions = memory_mask[item].nonzero().flatten()
            steps = attention_mask[row].nonzero().flatten()
            row_logits, row_maps = self.row(memory[item][positions], tokens[row, steps].tolist())
            logits[row, steps] = row_logits
            if row_maps is not None:
                for step, weights in zip(steps, row_maps.unbind(1), strict=True):
                    maps[row, :, step, positions] = weights
        return logits, None if self.config.attention_type is None else maps
