"""Writes initialization.txt: mean and standard deviation of every tensor of the models that `transformers` makes from a
configuration, before any training; what our families have to begin with.

Lines are "FAMILY/tensor mean deviation", over DRAWS models. GPT2's residual projections are 0.02/sqrt(2·layers). Run from
this directory. Made with transformers 5.23.0.
"""

import tempfile

import safetensors.torch
import torch
import transformers

DRAWS = 4
WIDTH, LAYERS, HEADS, VOCABULARY, CONTEXT = 64, 3, 4, 192, 32
torch.manual_seed(5)

common = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "vocab_size": VOCABULARY}
llama = {**common, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "intermediate_size": 128}
bert = {**common, "intermediate_size": 256, "max_position_embeddings": CONTEXT, "pad_token_id": None}
MODELS = {
    "GPT2": (transformers.GPT2LMHeadModel, transformers.GPT2Config(
        n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, vocab_size=VOCABULARY, n_positions=CONTEXT)),
    "LLAMA": (transformers.LlamaForCausalLM, transformers.LlamaConfig(**llama, tie_word_embeddings=False)),
    "QWEN2": (transformers.Qwen2ForCausalLM, transformers.Qwen2Config(**llama, tie_word_embeddings=True)),
    "QWEN3": (transformers.Qwen3ForCausalLM, transformers.Qwen3Config(**llama, head_dim=16, tie_word_embeddings=True)),
    "BERT": (transformers.BertForMaskedLM, transformers.BertConfig(**bert)),
    "ROBERTA": (transformers.RobertaForMaskedLM, transformers.RobertaConfig(
        **{**bert, "max_position_embeddings": CONTEXT + 2, "type_vocab_size": 1, "pad_token_id": 1})),
    "DISTILBERT": (transformers.DistilBertForMaskedLM, transformers.DistilBertConfig(
        dim=WIDTH, hidden_dim=256, n_layers=LAYERS, n_heads=HEADS, vocab_size=VOCABULARY,
        max_position_embeddings=CONTEXT)),
    "VIT": (transformers.ViTForImageClassification, transformers.ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=256, image_size=32,
        patch_size=8, num_labels=10)),
}


def as_saved(model):
    """The tensors under their names in files."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return safetensors.torch.load_file(folder + "/model.safetensors")


with open("initialization.txt", "w") as file:
    for family, (kind, config) in MODELS.items():
        draws = [as_saved(kind(config)) for _ in range(DRAWS)]
        for name in sorted(draws[0]):
            values = torch.stack([draw[name].double() for draw in draws])
            values = values[values != 0] if values.any() else values  # without the row of the padding token
            mean = values.mean().item()
            deviation = (values - mean).square().mean().sqrt().item()
            file.write(f"{family}/{name} {mean:.4g} {deviation:.4g}\n")
