"""Golden values of the families: tiny seeded Llama, Qwen2 and Qwen3 models of Hugging Face transformers, in float64.

Writes family_NAME.safetensors and family_NAME.json (config.json as transformers saves it) for each: weights under their
names, tokens and targets (I32, -1 is ignored), logits of the first row, the mean loss over valid targets and the gradient
of that mean for every parameter ("gradient/NAME"). Between them the models are tied and untied, have key heads = heads
and fewer, biases, rope scaling "llama3", "linear" and "yarn", qk-norm, heads wider than width/heads, and a sliding window on some
of the layers.
Needs torch, transformers, safetensors. Run: python make_families.py
"""
import json, os

import torch
import transformers
from safetensors.torch import save_file

BATCH, LENGTH, VOCABULARY = 2, 12, 29
common = dict(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
              max_position_embeddings=16, use_cache=False, attn_implementation="eager")
models = {
    # Untied, all heads, no scaling.
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM,
              dict(num_key_value_heads=4, rms_norm_eps=1e-5, tie_word_embeddings=False,
                   rope_parameters={"rope_type": "default", "rope_theta": 10000.0})),
    # Tied, grouped, Llama 3.1's scaling with wavelengths in all three ranges, biases everywhere.
    "llama3": (transformers.LlamaConfig, transformers.LlamaForCausalLM,
               dict(max_position_embeddings=64, num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=True, attention_bias=True, mlp_bias=True, head_dim=8,
                    rope_parameters={"rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
                                     "high_freq_factor": 4.0, "original_max_position_embeddings": 32})),
    # Untied, one key head, a window of 5 from the second layer on, linear scaling.
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM,
              dict(num_key_value_heads=1, tie_word_embeddings=False, use_sliding_window=True, sliding_window=5, max_window_layers=1,
                   rope_parameters={"rope_type": "linear", "rope_theta": 1000.0, "factor": 2.0})),
    # Tied, grouped, heads wider than width / heads, qk-norm.
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM,
              dict(num_key_value_heads=2, head_dim=6, tie_word_embeddings=True,
                   rope_parameters={"rope_type": "default", "rope_theta": 10000.0})),
    # A window on every layer, no biases.
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM,
                dict(num_key_value_heads=2, head_dim=4, tie_word_embeddings=False, sliding_window=4,
                     rope_parameters={"rope_type": "default", "rope_theta": 10000.0})),
    # ReLU² without a gate.
    "arcee": (transformers.ArceeConfig, transformers.ArceeForCausalLM,
              dict(num_key_value_heads=2, tie_word_embeddings=False, mlp_bias=True,
                   rope_parameters={"rope_type": "default", "rope_theta": 10000.0})),
    # YaRN, with planes in all three ranges and another factor for the scores than the paper's.
    "yarn": (transformers.LlamaConfig, transformers.LlamaForCausalLM,
             dict(max_position_embeddings=64, num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=False, head_dim=16,
                  rope_parameters={"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "beta_fast": 4.0, "beta_slow": 0.5,
                                   "mscale": 1.2, "mscale_all_dim": 0.4, "original_max_position_embeddings": 16})),
}
folder = os.path.dirname(os.path.abspath(__file__))
for index, (name, (Config, Model, special)) in enumerate(models.items()):
    torch.manual_seed(20261122 + index)
    config = Config(**{**common, **special})
    model = Model(config).double()
    with torch.no_grad():  # far from the published initialisation, so that no term is negligible; exact in float32
        for parameter_name, parameter in model.named_parameters():
            value = torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 else 0.25)
            if "norm" in parameter_name:
                value += 1.0
            parameter.copy_(value.float().double())
    tokens = torch.randint(0, VOCABULARY, (BATCH, LENGTH))
    targets = torch.randint(0, VOCABULARY, (BATCH, LENGTH))
    targets[0, 3] = targets[1, LENGTH - 1] = -1
    logits = model(input_ids=tokens).logits
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1), ignore_index=-1)
    loss.backward()
    named = dict(model.named_parameters())
    out = {"tokens": tokens.int(), "targets": targets.int(), "logits": logits[0].detach().float(), "loss": loss.detach().float().reshape(1)}
    out.update({key: p.detach().float() for key, p in named.items()})
    out.update({"gradient/" + key: p.grad.float() for key, p in named.items()})
    path = os.path.join(folder, f"family_{name}.safetensors")
    save_file({key: tensor.contiguous().clone() for key, tensor in out.items()}, path)
    config.architectures = [Model.__name__]
    with open(os.path.join(folder, f"family_{name}.json"), "w") as file:
        file.write(config.to_json_string())
    print(name, os.path.getsize(path), "bytes; loss", float(loss))
