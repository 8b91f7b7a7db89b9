"""Golden values of T5: tiny seeded models of Hugging Face transformers in float64, and its buckets of distances.

Writes t5_NAME.safetensors and t5_NAME.json (config.json as transformers saves it) for version 1.0 (ReLU, tied) and 1.1 (gated
GELU, untied): weights under their names, tokens, lengths (tokens before the padding; the second input is shorter), targets
(I32, -1 is ignored), logits, the mean loss over valid targets, the gradient of that mean for every parameter
("gradient/NAME"), and what greedy decoding of each input gives ("greedy"). relative_buckets.txt: buckets of the distances
-300 … 300.
Needs torch, transformers, safetensors. Run: python make_t5.py
"""
import os

import torch
import transformers
from safetensors.torch import save_file
from transformers.models.t5.modeling_t5 import T5Attention

BATCH, LENGTH, SHORT, TARGETS, VOCABULARY, GREEDY = 2, 13, 8, 9, 29, 12
folder = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(folder, "relative_buckets.txt"), "w") as file:
    for both in (True, False):
        for buckets, distance in ((32, 128), (8, 20), (64, 500)):
            values = T5Attention._relative_position_bucket(torch.arange(-300, 301), both, buckets, distance)
            file.write(f"{'both' if both else 'back'}-{buckets}-{distance} " + " ".join(map(str, values.tolist())) + "\n")

common = dict(vocab_size=VOCABULARY, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_heads=4, relative_attention_num_buckets=8,
              relative_attention_max_distance=12, dropout_rate=0.0, decoder_start_token_id=0)
models = {"v10": dict(**common, num_decoder_layers=3), "v11": dict(**common, feed_forward_proj="gated-gelu", tie_word_embeddings=False)}
for index, (name, special) in enumerate(models.items()):
    torch.manual_seed(20261124 + index)
    config = transformers.T5Config(**special)
    config._attn_implementation = "eager"
    model = transformers.T5ForConditionalGeneration(config).double().eval()
    if name == "v11":  # transformers 5 ties new models whatever is said, and unties those whose file has another head
        model.lm_head.weight = torch.nn.Parameter(torch.empty(VOCABULARY, 16, dtype=torch.double))
        model.all_tied_weights_keys = {k: v for k, v in model.all_tied_weights_keys.items() if "lm_head" not in k}
    with torch.no_grad():  # no term is negligible; exact in float32
        for parameter_name, parameter in model.named_parameters():
            value = torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 else 0.35)
            if "norm" in parameter_name:
                value += 1.0
            parameter.copy_(value.float().double())
    tokens = torch.randint(2, VOCABULARY, (BATCH, LENGTH))
    targets = torch.randint(2, VOCABULARY, (BATCH, TARGETS))
    targets[0, 3], targets[1, 6:] = -1, -1
    mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
    mask[1, SHORT:] = 0
    tokens[1, SHORT:] = 0
    decoder = torch.cat([torch.zeros(BATCH, 1, dtype=torch.long), targets[:, :-1].clamp(min=0)], 1)
    logits = model(input_ids=tokens, attention_mask=mask, decoder_input_ids=decoder).logits
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1), ignore_index=-1)
    loss.backward()
    with torch.no_grad():
        greedy = torch.zeros(BATCH, 1, dtype=torch.long)
        for _ in range(GREEDY):
            step = model(input_ids=tokens, attention_mask=mask, decoder_input_ids=greedy).logits[:, -1]
            greedy = torch.cat([greedy, step.argmax(-1, keepdim=True)], 1)
    out = {"tokens": tokens.int(), "targets": targets.int(), "decoder": decoder.int(), "lengths": mask.sum(1).int(),
           "logits": logits.detach().float(), "loss": loss.detach().float().reshape(1), "greedy": greedy[:, 1:].int()}
    for key, parameter in model.named_parameters():
        out[key] = parameter.detach().float()
        out["gradient/" + key] = parameter.grad.float()
    path = os.path.join(folder, f"t5_{name}.safetensors")
    save_file({key: tensor.contiguous().clone() for key, tensor in out.items()}, path)
    config.architectures = ["T5ForConditionalGeneration"]
    if name == "v11":
        config.tie_word_embeddings = False
    with open(os.path.join(folder, f"t5_{name}.json"), "w") as file:
        file.write(config.to_json_string())
    print(name, os.path.getsize(path), "bytes; loss", float(loss), greedy.tolist(), sorted(k for k, _ in model.named_parameters())[:40])
