"""GEMM and attention of PyTorch on the CPU, the shapes of bench/kernels, two threads.

    python bench/peers/gemm_attention.py [--ours DIR] [--threads 2] [--filter TEXT]

Prints one JSON line per case. With --ours (the folder of gemm.bench and attention.bench), each case is run by both
programs one right after the other and a table of ratios follows (above 1: ours is faster).
"""
import argparse
import json
import os
import subprocess
import time

parser = argparse.ArgumentParser()
parser.add_argument('--ours')
parser.add_argument('--threads', type=int, default=2)
parser.add_argument('--filter', default='')
options = parser.parse_args()
os.environ['OMP_NUM_THREADS'] = str(options.threads)
import torch  # noqa: E402  (after the thread count)

torch.set_num_threads(options.threads)

GEMM = [(s, s, s, 'nt') for s in (1024, 2048, 4096)] + [
    (1024, 1024, 1024, 'nn'), (612, 384, 128, 'nt'), (612, 128, 512, 'nt'), (36, 128, 128, 'nt'),
    (5184, 64, 64, 'nt'), (5184, 256, 576, 'nt'), (612, 128, 384, 'nn'), (384, 128, 612, 'tn'), (64, 64, 5184, 'tn'),
    (1, 3072, 3072, 'nt'), (4, 768, 128, 'nt'), (1024, 3, 128, 'nt')]
ATTENTION = [(1, 16, 4096, 64, False), (1, 16, 4096, 64, True), (1, 1, 1024, 512, False), (4, 4, 153, 32, False),
             (9, 4, 36, 32, False)]


def best_time(call, flops):
    inner = max(1, int(2e7 / flops))
    best, stop, count = 1e9, time.perf_counter() + 0.4, 0
    while count < 4 or time.perf_counter() < stop:
        start = time.perf_counter()
        for _ in range(inner):
            call()
        if count > 0:
            best = min(best, (time.perf_counter() - start) / inner)
        count += 1
    return best


def emit(op, shape, dtype, seconds, flops):
    line = {'op': op, 'shape': shape, 'dtype': dtype, 'ms': round(seconds * 1e3, 5),
            'gflops': round(flops / seconds * 1e-9, 1), 'isa': 'torch'}
    print(json.dumps(line), flush=True)
    return line


def ours(program, shape):
    if not options.ours:
        return []
    text = subprocess.run([os.path.join(options.ours, program), shape], capture_output=True, text=True, check=True,
                          env={**os.environ, 'RL3DEDIT_THREADS': str(options.threads)}).stdout
    print(text, end='')
    return [json.loads(line) for line in text.splitlines()]


theirs, mine = [], []
with torch.inference_mode():
    for m, n, k, layout in GEMM:
        shape = f'{m}x{n}x{k}_{layout}'
        if options.filter not in shape:
            continue
        for dtype, name in ((torch.float32, 'f32'), (torch.bfloat16, 'bf16')):
            a = torch.randn((k, m) if layout[0] == 't' else (m, k), dtype=dtype)
            b = torch.randn((n, k) if layout[1] == 't' else (k, n), dtype=dtype)
            a, b = (a.T if layout[0] == 't' else a), (b.T if layout[1] == 't' else b)
            c = torch.empty((m, n), dtype=dtype)
            flops = 2.0 * m * n * k
            theirs.append(emit('gemm', shape, name, best_time(lambda: torch.mm(a, b, out=c), flops), flops))
        mine += ours('gemm.bench', shape)

for batch, heads, length, dim, causal in ATTENTION:
    shape = f'{batch}x{heads}x{length}x{dim}' + ('_causal' if causal else '')
    if options.filter not in shape:
        continue
    for dtype, name in ((torch.float32, 'f32'), (torch.bfloat16, 'bf16')):
        # [B,L,H,D] in memory, as our kernels take it.
        q, k, v = (torch.randn((batch, length, heads, dim), dtype=dtype).transpose(1, 2) for _ in range(3))
        flops = 4.0 * batch * heads * length * length * dim * (0.5 if causal else 1)
        attention = torch.nn.functional.scaled_dot_product_attention
        with torch.inference_mode():
            seconds = best_time(lambda: attention(q, k, v, is_causal=causal), flops)
        theirs.append(emit('attention', shape, name, seconds, flops))
        if name == 'f32' and length * length * heads * dim <= 2 ** 32:
            q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
            grad = torch.ones_like(q)

            def both():
                q.grad = k.grad = v.grad = None
                attention(q, k, v, is_causal=causal).backward(grad)

            theirs.append(emit('attention_backward', shape, name, best_time(both, flops * 3.5) - seconds, flops * 2.5))
    mine += ours('attention.bench', shape)

if mine:
    print(f'\n{"op":<20}{"shape":<24}{"dtype":<7}{"ours ms":>10}{"torch ms":>10}{"ratio":>8}')
    reference = {(x['op'], x['shape'], x['dtype']): x['ms'] for x in theirs}
    for x in mine:
        other = reference.get((x['op'], x['shape'], x['dtype']))
        if other is not None:
            print(f'{x["op"]:<20}{x["shape"]:<24}{x["dtype"]:<7}{x["ms"]:>10.4f}{other:>10.4f}{other / x["ms"]:>8.2f}')
