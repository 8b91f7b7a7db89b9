"""Writes folders/NAME: whole model folders as `save_pretrained` of transformers leaves them, in several types, one of them
in several files, for the tests of `tsugi import` and `tsugi export`. Weights are random, ones of no use.

Needs torch, transformers, safetensors; made with transformers 5.23.0. Run: python make_folders.py
"""
import os
import shutil

import torch
import transformers as t

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "folders")
base = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12)
text = dict(**base, vocab_size=13, pad_token_id=0, bos_token_id=1, eos_token_id=2)
MODELS = {
    "gpt2": (t.GPT2LMHeadModel, t.GPT2Config(n_embd=8, n_layer=2, n_head=2, n_positions=6, vocab_size=13, bos_token_id=12,
                                             eos_token_id=12), torch.float32, "1GB"),
    "llama": (t.LlamaForCausalLM, t.LlamaConfig(**text, max_position_embeddings=6, num_key_value_heads=1,
                                                rms_norm_eps=1e-5), torch.bfloat16, "1KB"),
    "bert": (t.BertForMaskedLM, t.BertConfig(**text, max_position_embeddings=6), torch.float16, "1GB"),
    "roberta": (t.RobertaForMaskedLM, t.RobertaConfig(**{**text, "pad_token_id": 1, "bos_token_id": 0},
                                                      max_position_embeddings=8, type_vocab_size=1, layer_norm_eps=1e-5),
                torch.bfloat16, "1GB"),
    "distilbert": (t.DistilBertForMaskedLM, t.DistilBertConfig(vocab_size=13, dim=8, hidden_dim=12, n_layers=1, n_heads=2,
                                                               max_position_embeddings=6), torch.float32, "1GB"),
    "vit": (t.ViTForImageClassification, t.ViTConfig(**base, image_size=4, patch_size=2, num_labels=3), torch.float32,
            "1GB"),
}
shutil.rmtree(root, ignore_errors=True)
for name, (Model, config, dtype, shard) in MODELS.items():
    torch.manual_seed(20261124)
    model = Model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    model.to(dtype).save_pretrained(os.path.join(root, name), max_shard_size=shard)
