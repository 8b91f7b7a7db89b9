"""Golden values of the encoders: tiny seeded BERT, RoBERTa, DistilBERT and ELECTRA models of Hugging Face transformers, in
float64.

Writes encoder_NAME.safetensors and encoder_NAME.json (config.json as transformers saves it) for each: weights under their
names, tokens, segments, lengths (tokens before the padding) and targets (I32, -1 is ignored), logits, the mean loss over
valid targets and the gradient of that mean for every parameter ("gradient/NAME"). The second row is shorter: attention
must not see its padding. Of the discriminator targets are 0 and 1, and logits one per token.
Needs torch, transformers, safetensors. Run: python make_encoders.py [NAME …]
"""
import os
import sys

import torch
import transformers
from safetensors.torch import save_file

BATCH, LENGTH, SHORT, VOCABULARY = 2, 12, 7, 29
PAD = 1  # RoBERTa finds its positions by it, so that no text has it
common = dict(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
              hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
models = {
    "bert": (transformers.BertConfig, transformers.BertForMaskedLM, dict(**common, max_position_embeddings=16)),
    "roberta": (transformers.RobertaConfig, transformers.RobertaForMaskedLM,
                dict(**common, max_position_embeddings=18, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=PAD)),
    "distilbert": (transformers.DistilBertConfig, transformers.DistilBertForMaskedLM,
                   dict(vocab_size=VOCABULARY, dim=16, hidden_dim=24, n_layers=2, n_heads=4, max_position_embeddings=16,
                        dropout=0.0, attention_dropout=0.0)),
    "electra": (transformers.ElectraConfig, transformers.ElectraForMaskedLM,
                dict(**common, embedding_size=16, max_position_embeddings=16)),
    "electra_discriminator": (transformers.ElectraConfig, transformers.ElectraForPreTraining,
                              dict(**common, embedding_size=16, max_position_embeddings=16)),
}
segmented = ("bert", "electra", "electra_discriminator")
folder = os.path.dirname(os.path.abspath(__file__))
for index, (name, (Config, Model, special)) in enumerate(models.items()):
    if sys.argv[1:] and name not in sys.argv[1:]:
        continue
    torch.manual_seed(20261123 + index)
    config = Config(**special)
    config._attn_implementation = "eager"
    model = Model(config).double()
    with torch.no_grad():  # far from the published initialisation, so that no term is negligible; exact in float32
        for parameter_name, parameter in model.named_parameters():
            value = torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 else 0.25)
            if "norm" in parameter_name.lower() and parameter_name.endswith("weight"):
                value += 1.0
            parameter.copy_(value.float().double())
    tokens = torch.randint(2, VOCABULARY, (BATCH, LENGTH))
    segments = torch.randint(0, 2, (BATCH, LENGTH)) if name in segmented else torch.zeros(BATCH, LENGTH, dtype=torch.long)
    targets = torch.full((BATCH, LENGTH), -1)
    discriminator = Model is transformers.ElectraForPreTraining
    for row, places in enumerate([[0, 3, 4, 11], [2, 6]]):
        targets[row, places] = torch.randint(0, 2 if discriminator else VOCABULARY, (len(places),))
    mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
    mask[1, SHORT:] = 0
    tokens[1, SHORT:] = PAD
    more = {"token_type_ids": segments} if name in segmented else {}
    logits = model(input_ids=tokens, attention_mask=mask, **more).logits
    if discriminator:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[targets >= 0], targets[targets >= 0].double())
    else:
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1), ignore_index=-1)
    loss.backward()
    out = {"tokens": tokens.int(), "segments": segments.int(), "targets": targets.int(), "lengths": mask.sum(1).int(),
           "logits": logits.detach().float(), "loss": loss.detach().float().reshape(1)}
    for key, parameter in model.named_parameters():
        out[key] = parameter.detach().float()
        out["gradient/" + key] = parameter.grad.float()
    path = os.path.join(folder, f"encoder_{name}.safetensors")
    save_file({key: tensor.contiguous().clone() for key, tensor in out.items()}, path)
    config.architectures = [Model.__name__]
    with open(os.path.join(folder, f"encoder_{name}.json"), "w") as file:
        file.write(config.to_json_string())
    print(name, os.path.getsize(path), "bytes; loss", float(loss), sorted(k for k, _ in model.named_parameters() if "layer." not in k))
