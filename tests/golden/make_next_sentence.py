"""Golden values of next-sentence prediction: a tiny seeded BertForPreTraining of Hugging Face transformers, in float64.

Writes next_sentence.safetensors and next_sentence.json (config.json as transformers saves it): weights under their names,
tokens, segments, lengths (tokens before the padding), targets (I32, -1 is ignored), answers (0: the second piece follows, 1:
it is from elsewhere), prediction_logits, seq_relationship_logits, the mean loss of the targets plus the mean loss of the
answers, each weighing as much as its row has targets, and the gradient of that for every parameter ("gradient/NAME").
Needs torch, transformers, safetensors. Run: python make_next_sentence.py
"""
import os

import torch
import transformers
from safetensors.torch import save_file

BATCH, LENGTH, SHORT, VOCABULARY = 3, 12, 8, 29
torch.manual_seed(20261124)
config = transformers.BertConfig(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                                 num_attention_heads=4, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                                 max_position_embeddings=16)
config._attn_implementation = "eager"
model = transformers.BertForPreTraining(config).double()
with torch.no_grad():  # far from the published initialisation, so that no term is negligible; exact in float32
    for name, parameter in model.named_parameters():
        value = torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 else 0.25)
        if "norm" in name.lower() and name.endswith("weight"):
            value += 1.0
        parameter.copy_(value.float().double())
tokens = torch.randint(2, VOCABULARY, (BATCH, LENGTH))
segments = torch.zeros(BATCH, LENGTH, dtype=torch.long)
segments[0, 5:], segments[1, 4:SHORT], segments[2, 9:] = 1, 1, 1
targets = torch.full((BATCH, LENGTH), -1)
for row, places in enumerate([[1, 3, 4, 10], [2, 6], [1, 2, 7, 9]]):
    targets[row, places] = torch.randint(0, VOCABULARY, (len(places),))
answers = torch.tensor([1, 0, 0])
mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
mask[1, SHORT:] = 0
tokens[1, SHORT:] = 0
output = model(input_ids=tokens, token_type_ids=segments, attention_mask=mask)
weight = (targets >= 0).sum(1).double()
of_pairs = torch.nn.functional.cross_entropy(output.seq_relationship_logits, answers, reduction="none")
loss = torch.nn.functional.cross_entropy(output.prediction_logits.reshape(-1, VOCABULARY), targets.reshape(-1), ignore_index=-1)
loss = loss + (weight * of_pairs).sum() / weight.sum()
loss.backward()
# Where all rows weigh the same it is the loss of transformers.
even = [0, 2]
theirs = model(input_ids=tokens[even], token_type_ids=segments[even], labels=targets[even].masked_fill(targets[even] < 0, -100),
               next_sentence_label=answers[even]).loss
ours = torch.nn.functional.cross_entropy(output.prediction_logits[even].reshape(-1, VOCABULARY), targets[even].reshape(-1), ignore_index=-1)
ours = ours + (weight * of_pairs)[even].sum() / weight[even].sum()
assert abs(float(theirs - ours)) < 1e-9, (theirs, ours)
out = {"tokens": tokens.int(), "segments": segments.int(), "targets": targets.int(), "lengths": mask.sum(1).int(),
       "answers": answers.int(), "prediction_logits": output.prediction_logits.detach().float(),
       "seq_relationship_logits": output.seq_relationship_logits.detach().float(), "loss": loss.detach().float().reshape(1)}
for key, parameter in model.named_parameters():
    out[key] = parameter.detach().float()
    out["gradient/" + key] = parameter.grad.float()
folder = os.path.dirname(os.path.abspath(__file__))
path = os.path.join(folder, "next_sentence.safetensors")
save_file({key: tensor.contiguous().clone() for key, tensor in out.items()}, path)
config.architectures = ["BertForPreTraining"]
with open(os.path.join(folder, "next_sentence.json"), "w") as file:
    file.write(config.to_json_string())
print(os.path.getsize(path), "bytes; loss", float(loss))
