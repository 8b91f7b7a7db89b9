#!/usr/bin/env python3
"""Training on a device: tokens/s and MFU beside plain PyTorch, and the loss curve beside the CPU's.

Usage: benchmarks/train_device.py speed  --tsugi TSUGI --out FILE.jsonl [--shapes gpt2_124m,…] [--peak TFLOPS] [--ceiling TFLOPS]
       benchmarks/train_device.py curves --tsugi TSUGI --out FILE.jsonl [--steps 200]
       --seconds N: nothing is begun after that. --device cpu --tiny: shows that it runs where there is no device.
Rows that FILE has without an error are not measured again.

speed: the same model, batch and optimizer (AdamW, clipping, f32 master weights and gradients, products in bf16) by `tsugi
bench step` (the trainer's steps on random tokens) and by PyTorch (torch.compile, scaled_dot_product_attention, fused
AdamW; from 40 layers on each block is compiled by itself). A row is the median
of the timed steps. FLOPs per token are those of `tsugi plan`, in both conventions; MFU is against --peak (989: the datasheet
of H100 and H200) and, where given, the rate of products measured on the device (--ceiling). peak_bytes is what nvidia-smi
saw in use on the device, for both.
curves: a small model learns text on the device in bf16 and on the CPU in bf16 and fp32; the device may be at most twice as
far from fp32 as the CPU's bf16 is.
"""
import argparse, json, math, os, statistics, subprocess, sys, tempfile, threading, time

GPT2 = dict(family="GPT2", vocabulary=50257, padded=50304)
SHAPES = {
    "gpt2_124m": dict(GPT2, layers=12, heads=12, width=768, sequence=1024, rows=64, micro_batches=4, steps=12),
    "gpt2_355m": dict(GPT2, layers=24, heads=16, width=1024, sequence=1024, rows=32, micro_batches=4, steps=8),
    "gpt2_1558m": dict(GPT2, layers=48, heads=25, width=1600, sequence=1024, rows=16, micro_batches=2, steps=6),
    "llama_1b": dict(family="LLAMA", vocabulary=128256, padded=128256, layers=16, heads=32, key_heads=8, width=2048,
                     mlp_width=8192, sequence=2048, rows=8, micro_batches=4, steps=6),
    "tiny": dict(GPT2, vocabulary=100, padded=100, layers=2, heads=2, width=32, sequence=16, rows=2, micro_batches=2, steps=3),
}
WARM_UP = 4


def model_text(s):
    text = f"family: {s['family']} layers: {s['layers']} heads: {s['heads']} width: {s['width']} context: {s['sequence']} vocabulary: {s['vocabulary']}"
    if s["family"] == "LLAMA":
        text += f" key_heads: {s['key_heads']} mlp_width: {s['mlp_width']} tied: true rope_theta: 500000"
    return text


def config_text(arguments, s, attention):
    return f"""steps: {s['steps'] + WARM_UP}
model {{ {model_text(s)} }}
data {{ train: "none" }}
batch {{ micro_batch: {s['rows']} micro_batches: {s['micro_batches']} }}
optimizer {{ learning_rate: 3e-4 }}
numerics {{ compute: BF16 }}
compute {{ device: {'CUDA' if arguments.device == 'cuda' else 'CPU'} attention: {attention} }}
"""


def tsugi(arguments, s, attention, command, *options):
    """What `tsugi COMMAND --config … --json` says of a shape."""
    with tempfile.NamedTemporaryFile("w", suffix=".textproto") as file:
        file.write(config_text(arguments, s, attention))
        file.flush()
        return json.loads(run([arguments.tsugi, *command, "--config", file.name, "--json", *options],
                              timeout=max(10.0, arguments.seconds - time.monotonic())))


def run(command, **options):
    result = subprocess.run(command, capture_output=True, text=True, **options)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:2])} ended with {result.returncode}: {result.stderr[-600:]}")
    return result.stdout


def plain_model(s, device):
    import torch
    from torch import nn
    import torch.nn.functional as F
    llama = s["family"] == "LLAMA"
    heads, width, hidden = s["heads"], s["width"], s.get("mlp_width", 4 * s["width"])
    key_heads, size = s.get("key_heads", s["heads"]), s["width"] // s["heads"]
    Norm = (lambda: nn.RMSNorm(width, eps=1e-5)) if llama else (lambda: nn.LayerNorm(width))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = Norm(), Norm()
            self.qkv = nn.Linear(width, (heads + 2 * key_heads) * size, bias=not llama)
            self.out = nn.Linear(width, width, bias=not llama)
            self.up = nn.Linear(width, hidden * (2 if llama else 1), bias=not llama)
            self.down = nn.Linear(hidden, width, bias=not llama)

        def forward(self, x, rope):
            batch, tokens, _ = x.shape
            q, k, v = self.qkv(self.norm1(x)).split([heads * size, key_heads * size, key_heads * size], dim=-1)
            q, k, v = (t.view(batch, tokens, -1, size).transpose(1, 2) for t in (q, k, v))
            if llama:
                def turn(t):
                    a, b = t.chunk(2, dim=-1)
                    return (t * rope[0] + torch.cat((-b, a), dim=-1) * rope[1]).to(v.dtype)
                q, k = turn(q), turn(k)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=key_heads != heads)
            x = x + self.out(y.transpose(1, 2).reshape(batch, tokens, width))
            h = self.up(self.norm2(x))
            if llama:
                gate, up = h.chunk(2, dim=-1)
                return x + self.down(F.silu(gate) * up)
            return x + self.down(F.gelu(h, approximate="tanh"))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(s["padded"], width)
            self.positions = None if llama else nn.Embedding(s["sequence"], width)
            self.blocks = nn.ModuleList(Block() for _ in range(s["layers"]))
            self.norm = Norm()
            for p in self.parameters():
                if p.dim() > 1:
                    nn.init.normal_(p, std=0.02)
            if llama:
                angle = torch.outer(torch.arange(s["sequence"]).float(), 5e5 ** (-torch.arange(0, size, 2).float() / size))
                self.register_buffer("cosine", angle.cos().repeat(1, 2))
                self.register_buffer("sine", angle.sin().repeat(1, 2))

        def forward(self, tokens, targets):
            x = self.table(tokens)
            if not llama:
                x = x + self.positions.weight[: tokens.shape[1]]
            for block in self.blocks:
                x = block(x, (self.cosine, self.sine) if llama else None)
            logits = F.linear(self.norm(x), self.table.weight)
            return F.cross_entropy(logits.view(-1, s["padded"]).float(), targets.reshape(-1))
    return Model().to(device)


def pytorch(arguments, s):
    import torch
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    device = arguments.device
    model = plain_model(s, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    if s["layers"] < 40:
        step_model = torch.compile(model)
    else:
        step_model = model
        for block in model.blocks:
            block.compile()
    ids = torch.randint(0, min(s["vocabulary"], 65536), (s["rows"], s["sequence"] + 1), device=device)
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None

    def step():
        for _ in range(s["micro_batches"]):
            with torch.autocast(device, torch.bfloat16):
                loss = step_model(ids[:, :-1], ids[:, 1:])
            (loss / s["micro_batches"]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    seconds = []
    for _ in range(s["steps"] + WARM_UP):
        synchronize()
        start = time.perf_counter()
        step()
        synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:]), dict(compiled="whole" if s["layers"] < 40 else "blocks",
                                                     torch=torch.__version__)


class PeakMemory(threading.Thread):
    """The most memory that nvidia-smi saw in use on the device."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.ended = None, threading.Event()

    def run(self):
        while not self.ended.wait(0.5):
            try:
                used = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"],
                                      capture_output=True, text=True).stdout
                self.most = max(self.most or 0, int(used.split()[0]) << 20)
            except (OSError, ValueError, IndexError):
                return


def speed(arguments, say):
    for name in ["tiny"] if arguments.tiny else arguments.shapes.split(","):
        s = SHAPES[name]
        tokens = s["rows"] * s["micro_batches"] * s["sequence"]
        plan = tsugi(arguments, s, "MMA", ["plan"])
        flops = plan["flops_per_token"]

        def measured(row, contender):
            """Says the row, with what the contender returns: seconds of a step, and more."""
            if arguments.has(row):
                return
            if time.monotonic() > arguments.seconds:
                row["error"] = "no time was left"
                return say(row)
            memory = PeakMemory()
            memory.start()
            try:
                seconds, more = contender()
                row.update(more, tokens_per_step=tokens, peak_bytes=memory.most, **{k: v for k, v in s.items() if k != "padded"})
                rated(row, seconds, tokens, flops, arguments)
            except Exception as error:
                row["error"] = str(error)[-600:]
            memory.ended.set()
            say(row)

        for attention in ("MMA", "WGMMA", "PING_PONG") if arguments.device == "cuda" else ("MMA",):
            if attention == "WGMMA" and name != "gpt2_124m":
                continue
            def ours():
                result = tsugi(arguments, s, attention, ["bench", "step"], "--warm-up", str(WARM_UP), "--steps", str(s["steps"]))
                return result["seconds_per_step"], dict(plan_bytes=plan["bytes_per_rank"].get("on_device", plan["bytes_per_rank"]["total"]), mfu_said=result["mfu_palm"])
            measured(dict(shape=name, contender="tsugi", attention=attention), ours)

        def theirs():  # in a process of its own: its memory is free again afterwards
            out = run([sys.executable, __file__, "torch", "--device", arguments.device, "--shapes", name, "--out", "-"],
                      timeout=max(10.0, arguments.seconds - time.monotonic()),
                      env=dict(os.environ, PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True"))
            result = json.loads(out.strip().splitlines()[-1])
            return result["seconds"], result["more"]
        measured(dict(shape=name, contender="torch compile"), theirs)


def rated(row, seconds, tokens, flops, arguments):
    row.update(seconds_per_step=seconds, tokens_per_second=round(tokens / seconds, 1))
    for convention in ("palm", "causal"):
        rate = tokens / seconds * flops[convention]
        row[f"mfu_{convention}"] = round(rate / (1e12 * arguments.peak), 4)
        if arguments.ceiling:
            row[f"of_ceiling_{convention}"] = round(rate / (1e12 * arguments.ceiling), 4)


def curves(arguments, say):
    steps = 20 if arguments.tiny else arguments.steps
    if arguments.has(dict(steps=steps)):
        return
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(os.path.join(folder, "text"))
        for i in range(40):
            with open(os.path.join(folder, "text", f"{i}.txt"), "w") as file:
                file.writelines(f"Line {j} of document {i}: the quick brown fox jumps over {i * j} lazy dogs.\n" for j in range(60))
        run([arguments.tsugi, "prepare", "--text", os.path.join(folder, "text"), "--out", os.path.join(folder, "data"),
             "--vocabulary", "characters", "--json"])
        config = os.path.join(folder, "config.textproto")
        with open(config, "w") as file:
            file.write(f"""steps: {steps}
model {{ layers: 4 heads: 4 width: 128 context: 128 dropout: 0.1 }}
data {{ train: "{folder}/data" }}
batch {{ micro_batch: 4 micro_batches: 2 }}
optimizer {{ learning_rate: 1e-3 }}
checkpoint {{ every_steps: 0 }}
evaluation {{ every_steps: 0 }}
""")
        losses = {}
        accelerated = "CUDA" if arguments.device == "cuda" else "CPU"
        for name, device, compute in (("device", accelerated, "BF16"), ("cpu_bf16", "CPU", "BF16"), ("cpu_fp32", "CPU", "FP32")):
            out = os.path.join(folder, name)
            run([arguments.tsugi, "pretrain", "--config", config, "--set", f"compute.device={device}", f"numerics.compute={compute}",
                 "--out", out, "--json"])
            losses[name] = [json.loads(line)["loss"] for line in open(os.path.join(out, "metrics.jsonl")) if '"loss"' in line]
            say(dict(curve=name, losses=losses[name]))
        exact = losses["cpu_fp32"]
        far = lambda name: max(abs(a - b) for a, b in zip(losses[name], exact))
        allowed = 2 * far("cpu_bf16") + 2 ** -8 * max(exact)
        say(dict(steps=steps, device_from_fp32=far("device"), cpu_bf16_from_fp32=far("cpu_bf16"), allowed=allowed,
                 first=exact[0], last=exact[-1], agree=far("device") <= allowed and math.isfinite(far("device"))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "curves", "torch"))
    parser.add_argument("--tsugi")
    parser.add_argument("--out", required=True)
    parser.add_argument("--shapes", default="gpt2_124m,llama_1b")
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the datasheet")
    parser.add_argument("--ceiling", type=float, default=0.0, help="TFLOP/s of products measured here")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    arguments.seconds += time.monotonic()
    if arguments.what == "torch":
        seconds, more = pytorch(arguments, SHAPES[arguments.shapes])
        print(json.dumps(dict(seconds=seconds, more=more)))
        return
    earlier = [json.loads(line) for line in open(arguments.out)] if os.path.exists(arguments.out) else []
    arguments.has = lambda row: any("error" not in e and row.items() <= e.items() for e in earlier)
    with open(arguments.out, "a") as file:
        def say(row):
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(json.dumps(row)[:300], flush=True)
        (speed if arguments.what == "speed" else curves)(arguments, say)


if __name__ == "__main__":
    main()
