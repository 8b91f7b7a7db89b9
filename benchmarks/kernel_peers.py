#!/usr/bin/env python3
"""Every kernel of benchmark_kernels beside PyTorch, on the same device, at the same shapes.

Question: where are our kernels faster than what PyTorch offers, where slower, and by how much?
Usage: benchmarks/kernel_peers.py --cases kernels.jsonl --out peers.jsonl [--device cpu] [--kernel TEXT] [--seconds N]

--cases is what benchmark_kernels wrote: shapes, FLOPs, bytes and our times come from it. A row per case and peer is
written as it ends: peer, median microseconds of a run with a cold cache, and `ours`: the peer's time over our time (above
1 we are faster). Cases that FILE has already are left alone. Peers: scaled_dot_product_attention by backend (backward also with deterministic algorithms), eager
operators, and the same through torch.compile. After --seconds nothing new is begun. --device cpu only shows that it runs.
"""
import argparse, json, os, statistics, time
import torch
import torch._dynamo, torch._functorch.config
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BF16 = torch.bfloat16


class Device:
    def __init__(self, name):
        self.name = name
        self.cuda = name == "cuda"
        self.scrub = torch.empty(512 << 20 if self.cuda else 4096, dtype=torch.uint8, device=name)

    def random(self, *shape, dtype=BF16, grad=False):
        return torch.randn(*shape, device=self.name, dtype=dtype).requires_grad_(grad)

    def seconds(self, run, repeats):
        """Median of single runs, each after the cache was emptied; the host is ahead of the device."""
        times = []
        for i in range(repeats + 3):
            self.scrub.zero_()
            if self.cuda:
                torch.cuda._sleep(2_000_000)  # about a millisecond, in which Python queues the work
                begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                begin.record()
                run()
                end.record()
                torch.cuda.synchronize()
                times.append(1e-3 * begin.elapsed_time(end))
            else:
                start = time.perf_counter()
                run()
                times.append(time.perf_counter() - start)
        return statistics.median(times[3:])


def backward_of(forward, inputs):
    """The backward pass alone of forward(), as a function to run again and again."""
    out = forward()
    outs = out if isinstance(out, tuple) else (out,)
    gradients = [torch.randn_like(o) for o in outs]
    return lambda: torch.autograd.grad(outs, inputs, gradients, retain_graph=True)


def attention(device, s, backward):
    """Yields (peer, function)."""
    if s["window"] or s.get("bias"):
        return  # scaled_dot_product_attention would have to read a mask
    dtype = torch.float32 if s.get("f32") else BF16
    q = device.random(s["batch"], s["tokens"], s["heads"], s["head_dim"], dtype=dtype, grad=backward).transpose(1, 2)
    k = device.random(s["batch"], s["tokens"], s["key_heads"], s["head_dim"], dtype=dtype, grad=backward).transpose(1, 2)
    v = device.random(s["batch"], s["tokens"], s["key_heads"], s["head_dim"], dtype=dtype, grad=backward).transpose(1, 2)
    grouped = s["key_heads"] != s["heads"]
    backends = [("flash", SDPBackend.FLASH_ATTENTION, False), ("cudnn", SDPBackend.CUDNN_ATTENTION, False),
                ("efficient", SDPBackend.EFFICIENT_ATTENTION, False)]
    if backward:
        backends.append(("flash deterministic", SDPBackend.FLASH_ATTENTION, True))
        backends.append(("cudnn deterministic", SDPBackend.CUDNN_ATTENTION, True))
        backends.append(("efficient deterministic", SDPBackend.EFFICIENT_ATTENTION, True))
    if not device.cuda:
        backends = [("math", SDPBackend.MATH, False)]
    for name, backend, deterministic in backends:
        def forward():
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, is_causal=bool(s["causal"]), enable_gqa=grouped)

        def make():
            torch.use_deterministic_algorithms(deterministic)
            return backward_of(forward, (q, k, v)) if backward else forward
        yield name, make


def decoding(device, s):
    if s["f32"]:
        return
    q = device.random(s["batch"], s["heads"], 1, s["head_dim"])
    k, v = (device.random(s["batch"], s["tokens"], s["key_heads"], s["head_dim"]).transpose(1, 2) for _ in range(2))
    for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)) if device.cuda else (("math", SDPBackend.MATH),):
        def forward():
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, enable_gqa=s["key_heads"] != s["heads"])
        yield name, lambda: forward


def eager_and_compiled(function, inputs, backward):
    for name, form in (("eager", function), ("compile", torch.compile(function, dynamic=False))):
        def make(form=form):
            forward = lambda: form(*inputs)
            return backward_of(forward, [x for x in inputs if x.requires_grad]) if backward else forward
        yield "torch " + name, make


def norm(device, s, layer, backward):
    rows, width = s["rows"], s["width"]
    x, branch = (device.random(rows, width, grad=backward) for _ in range(2))
    gamma, beta = (device.random(width, grad=backward) for _ in range(2))

    def layer_norm(x, branch, gamma, beta):
        residual = x + branch
        return residual, F.layer_norm(residual, (width,), gamma, beta)

    def rms_norm(x, branch, gamma):
        residual = x + branch
        return residual, F.rms_norm(residual, (width,), gamma, 1e-5)
    return eager_and_compiled(*((layer_norm, (x, branch, gamma, beta)) if layer else (rms_norm, (x, branch, gamma))), backward)


def activation(device, s, gated, backward):
    x = device.random(s["rows"], s["width"] * (2 if gated else 1), grad=backward)

    def gelu(x):
        return F.gelu(x, approximate="tanh")

    def swiglu(x):
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate) * up
    return eager_and_compiled(swiglu if gated else gelu, (x,), backward)


def rotary(device, s, backward):
    heads = s["heads"] + s["key_heads"]
    x = device.random(s["rows"] // s["tokens"], s["tokens"], heads, s["head_dim"], grad=backward)
    angle = torch.outer(torch.arange(s["tokens"], device=device.name).float(),
                        1e4 ** (-torch.arange(0, s["head_dim"], 2, device=device.name).float() / s["head_dim"]))
    cosine, sine = (f(angle).repeat(1, 2)[:, None, :] for f in (torch.cos, torch.sin))

    def turn(x):
        a, b = x.chunk(2, dim=-1)
        return (x * cosine + torch.cat((-b, a), dim=-1) * sine).to(BF16)
    return eager_and_compiled(turn, (x,), backward)


def product(device, s):
    a = device.random(s["k"], s["m"]).t() if s["transpose_a"] else device.random(s["m"], s["k"])
    b = device.random(s["n"], s["k"]).t() if s["transpose_b"] else device.random(s["k"], s["n"])
    bias = device.random(s["n"])
    # Gradients of weights: PyTorch's result is bf16, ours is added to f32.
    yield "torch matmul", lambda: (lambda: torch.addmm(bias, a, b)) if s["bias"] else (lambda: a @ b)
    if s["gelu"]:
        gelu = torch.compile(lambda: F.gelu(torch.addmm(bias, a, b), approximate="tanh"), dynamic=False)
        yield "torch compile", lambda: gelu


def cross_entropy(device, s):
    logits = device.random(s["rows"], s["columns"], grad=True)
    targets = torch.randint(0, s["vocabulary"], (s["rows"],), device=device.name)

    def both(logits):
        loss = F.cross_entropy(logits.float(), targets, reduction="sum")
        return torch.autograd.grad(loss, logits)[0]

    def loss_of(logits):
        return F.cross_entropy(logits.float(), targets, reduction="sum")
    compiled = torch.compile(loss_of, dynamic=False)
    yield "torch eager", lambda: lambda: both(logits)
    yield "torch compile", lambda: lambda: torch.autograd.grad(compiled(logits), logits)


def adamw(device, s):
    parameter = device.random(s["parameters"], dtype=torch.float32, grad=True)
    parameter.grad = device.random(s["parameters"], dtype=torch.float32)
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, fused=True)
    yield "torch AdamW fused (no bf16 copy)", lambda: optimizer.step


def gradient_norm(device, s):
    gradient = device.random(s["parameters"], dtype=torch.float32)
    yield "torch norm", lambda: lambda: torch.linalg.vector_norm(gradient)


def embedding(device, s, backward):
    tokens = torch.randint(0, s["vocabulary"], (s["batch"], s["tokens"]), device=device.name)
    table, positions = device.random(s["vocabulary"], s["width"], grad=backward), device.random(s["tokens"], s["width"], grad=backward)

    def embed(table, positions):
        return F.embedding(tokens, table) + positions
    for name, make in eager_and_compiled(embed, (table, positions), backward):
        yield name, make


def column_sum(device, s):
    x = device.random(s["rows"], s["width"])
    yield "torch sum", lambda: lambda: x.sum(0, dtype=torch.float32)


def copy(device, s):
    x, y = (torch.empty(s["bytes"], dtype=torch.uint8, device=device.name).random_() for _ in range(2))
    yield "torch copy", lambda: lambda: y.copy_(x)


def peers(device, kernel, s):
    backward = "_backward" in kernel
    if kernel.startswith("attention_"):
        return attention(device, s, backward)
    if kernel.startswith("product"):
        return product(device, s)
    if "_norm_" in kernel:
        return norm(device, s, kernel.startswith("layer"), backward)
    if kernel.startswith(("gelu_", "swiglu_")):
        return activation(device, s, kernel.startswith("swiglu"), backward)
    if kernel.startswith("rotary_"):
        return rotary(device, s, backward)
    if kernel.startswith("embedding_"):
        return embedding(device, s, backward)
    by_name = dict(cross_entropy=cross_entropy, adamw=adamw, gradient_norm=gradient_norm, column_sum=column_sum, copy=copy,
                   decode_attention=decoding)
    return by_name[kernel](device, s) if kernel in by_name else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--kernel", default="", help="part of the names to run")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=450)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "kernel_peers.py: PyTorch sees no device; --device cpu shows that the script runs\n")
    torch._dynamo.config.cache_size_limit = 256
    torch._functorch.config.donated_buffer = False  # backward runs again and again on what one forward kept
    torch.utils.deterministic.fill_uninitialized_memory = False  # a fill is no part of the peer's work
    start = time.monotonic()
    device = Device(arguments.device)
    cases = [json.loads(line) for line in open(arguments.cases)]
    cases = [case for case in cases if "microseconds" in case and arguments.kernel in case["kernel"]]
    earlier = [json.loads(line) for line in open(arguments.out)] if os.path.exists(arguments.out) else []
    if earlier and "left_out" not in earlier[-1]:  # the last case was cut: again
        earlier = [row for row in earlier if row.get("shape") != earlier[-1].get("shape")]
    cases = [c for c in cases if not any(row.get("kernel") == c["kernel"] and row.get("shape") == c["shape"] for row in earlier)]
    left_out = []
    with open(arguments.out, "a") as file:
        def say(row):
            file.write(json.dumps(row) + "\n")
            file.flush()
        say(dict(torch=torch.__version__, device=torch.cuda.get_device_name() if device.cuda else "cpu",
                 cudnn=torch.backends.cudnn.version()))
        measured = {}  # what does the same by another kernel of ours meets the same peers
        for case in cases:
            label = f'{case["kernel"]} {case["shape"]}'
            if time.monotonic() - start > arguments.seconds:
                left_out.append(label)
                continue
            best = None
            kernel = case["kernel"].removesuffix("_wgmma").removesuffix("_ping_pong")
            for name, make in peers(device, kernel, case["shape"]):
                row = dict(kernel=case["kernel"], shape=case["shape"], peer=name)
                try:
                    same = (kernel, tuple(case["shape"].items()), name)
                    if same not in measured:
                        measured[same] = device.seconds(make(), arguments.repeats)
                    seconds = measured[same]
                    row.update(microseconds=round(1e6 * seconds, 2), ours=round(1e6 * seconds / case["microseconds"], 3))
                    if "flops" in case:
                        row["tflops"] = round(1e-12 * case["flops"] / seconds, 3)
                    row["gigabytes_per_second"] = round(1e-9 * case["bytes"] / seconds, 2)
                    if best is None or seconds < best[0]:
                        best = (seconds, name)
                except Exception as error:  # a backend that cannot do it is a result too
                    row["error"] = str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
                finally:
                    torch.use_deterministic_algorithms(False)
                say(row)
            if best is not None:
                print(f'{case["microseconds"]:10.1f} us ours {1e6 * best[0]:10.1f} us {best[1]:<32} '
                      f'{1e6 * best[0] / case["microseconds"]:6.2f}  {label}', flush=True)
        say(dict(seconds=round(time.monotonic() - start, 1), left_out=left_out))


if __name__ == "__main__":
    main()
