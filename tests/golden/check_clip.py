#!/usr/bin/env python3
"""What `tsugi export --as text` and `--as dual-encoder` write, in transformers: captions' features equal those of GPT2Model with
the checkpoint's own tensors, pictures' those of `tsugi embed`, and digits find their words.

    check_clip.py TSUGI CHECKPOINT [IMAGES.gz LABELS.gz]     # a run of launch/recipes/mnist_clip.textproto, pooling: CLASS_TOKEN

Run by hand. Made with transformers 5.23.0.
"""

import gzip
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPTextModelWithProjection, GPT2Config, GPT2Model, VisionTextDualEncoderModel

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def export(tsugi, checkpoint, out, part):
    subprocess.run([tsugi, "export", "--checkpoint", checkpoint, "--out", out, "--as", part, "--json"], check=True)
    return out


def main():
    tsugi, checkpoint, *digits = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        text = export(tsugi, checkpoint, folder + "/text", "text")
        tokens = AutoTokenizer.from_pretrained(text)(WORDS, padding=True, return_tensors="pt")
        assert tokens["input_ids"][1].tolist()[:4] == [*b"one", 256], tokens["input_ids"][1]
        model = CLIPTextModelWithProjection.from_pretrained(text).eval()
        embeds = model(**tokens).text_embeds

        weights = load_file(sorted(pathlib.Path(checkpoint).rglob("model.safetensors"))[-1])
        own = {name.removeprefix("objective.transformer."): value for name, value in weights.items() if ".transformer." in name}
        config = model.config
        gpt2 = GPT2Model(GPT2Config(
            vocab_size=257, n_positions=config.max_position_embeddings, n_embd=config.hidden_size, n_layer=config.num_hidden_layers,
            n_head=config.num_attention_heads)).eval()
        missing = gpt2.load_state_dict(own, strict=False)
        assert not missing.unexpected_keys and all("attn.bias" in name for name in missing.missing_keys), missing
        hidden = gpt2(tokens["input_ids"]).last_hidden_state
        ends = [len(word) for word in WORDS]
        expected = hidden[range(len(WORDS)), ends] @ weights["objective.text_projection.weight"].T
        off = (embeds - expected).abs().max().item() / expected.abs().max().item()
        print(f"captions' features: off by {off:.1e} of the largest")
        assert off < 1e-5
        if not digits:
            return
        both = VisionTextDualEncoderModel.from_pretrained(export(tsugi, checkpoint, folder + "/both", "dual-encoder")).eval()
        images = numpy.frombuffer(gzip.open(digits[0]).read()[16:], numpy.uint8).reshape(-1, 1, 28, 28)[:2000]
        labels = numpy.frombuffer(gzip.open(digits[1]).read()[8:], numpy.uint8)[:2000]
        pixels = torch.tensor(images / 255.0, dtype=torch.float32) * 2 - 1
        out = both(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels)
        assert torch.allclose(out.text_embeds, embeds / embeds.norm(dim=-1, keepdim=True), atol=1e-5)
        subprocess.run([tsugi, "embed", "--checkpoint", checkpoint, "--images", digits[0], "--out", folder + "/features", "--json"],
                       check=True)
        features = torch.tensor(numpy.load(folder + "/features/features.npy")[:2000])
        own = features @ weights["objective.visual_projection.weight"].T
        off = (out.image_embeds - own / own.norm(dim=-1, keepdim=True)).abs().max().item()
        print(f"pictures' features, of length 1: off by {off:.1e}")
        assert off < 1e-5
        right = (out.logits_per_image.argmax(-1).numpy() == labels).mean()
        print(f"the right one of ten words for {right:.3f} of {len(labels)} digits, scale {both.logit_scale.exp().item():.2f}")
        assert right > 0.5


main()
print("ok")
