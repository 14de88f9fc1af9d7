"""
Scores of what the models write, as modules of `evaluate`. Each is a folder here, and loads from it without a network:

```python
>>> import evaluate
>>> from hf_attention import metrics

>>> captioning = evaluate.load(f"{metrics.__path__[0]}/captioning")
>>> captioning.compute(predictions=["a dog runs"], references=[["a dog runs", "a dog is running"]])
```

- `captioning`: BLEU-1 to 4, ROUGE-L and CIDEr, with Java also METEOR and the tokeniser of the Penn Treebank;
- `translation`: BLEU, chrF and TER by sacreBLEU;
- `vqa_accuracy`: the accuracy of the VQA data sets, with their normalisation of answers, and exact match;
- `perplexity`: that of texts under a causal language model.

Training scores by the functions in the same files. They need `pip install "hf_attention[metrics]"`.
"""
