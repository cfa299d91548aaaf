"""Side by side with PyTorch on the CPU: the same cases, sizes, types and threads, in one run, in turns.

    python bench/peers/compare.py [--threads 2] [--rounds 5] [--seconds 0.5] [--filter TEXT] [--cpu] [--json FILE]

Each case is run by both sides alternately (A B A B …), `rounds` slots each; the medians over all samples are printed, and
the median of the slots' ratios (above 1: ours is faster), since a shared machine drifts. The networks' outputs, and the
gradients of the training cases, are compared first: equal within 2e-4 of the largest value, or the case fails.
`train-update` is the transformer's share of one update of the demo's training, in f32; `-mixed` rounds the operands of
products to bf16 on both sides, `-autocast` puts torch's whole network under autocast to bf16. Its parts are printed below it.
`--cpu` counts processor time instead of time passed (parts keep the latter): with one thread, what a busy machine can
still tell.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument('--threads', type=int, default=2)
parser.add_argument('--rounds', type=int, default=5)
parser.add_argument('--seconds', type=float, default=0.5)
parser.add_argument('--filter', default='')
parser.add_argument('--json')
parser.add_argument('--cpu', action='store_true', help='compare processor time: for one thread on a busy machine')
parser.add_argument('--ops', action='store_true', help="show our side's most costly ops of each network")
options = parser.parse_args()
now = time.process_time if options.cpu else time.perf_counter
os.environ['OMP_NUM_THREADS'] = str(options.threads)
import torch  # noqa: E402  (after the thread count)
import torch.nn.functional as F  # noqa: E402

from flux_torch import Flux  # noqa: E402
from safetensors_file import load  # noqa: E402
from update_torch import TrainUpdate  # noqa: E402
from vggt_torch import Vggt  # noqa: E402

torch.set_num_threads(options.threads)
torch.manual_seed(0)
TYPES = {'f32': torch.float32, 'bf16': torch.bfloat16}
TOLERANCE = 2e-4


class Ours:
    def __init__(self):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'ours.mjs')
        self.process = subprocess.Popen(['node', script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, 'PEER_THREADS': str(options.threads)})

    def ask(self, *words):
        self.process.stdin.write(' '.join(map(str, words)) + '\n')
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        reply = json.loads(line) if line else {'error': 'the process ended'}
        if 'error' in reply:
            sys.exit(f'ours: {words}: {reply["error"]}')
        return reply


def slot(run):
    """Milliseconds of each call, and what the calls say about their parts."""
    run()
    times, parts, stop = [], [], time.perf_counter() + options.seconds
    while len(times) < 2 or time.perf_counter() < stop:
        begun = now()
        part = run()
        times.append(1e3 * (now() - begun))
        parts += [part] if isinstance(part, dict) else []
    return {'ms': times, 'parts': parts}


def no_grad(call):
    def run():
        with torch.no_grad():
            call()
    return run


def gemm(size, dtype):
    a, b = (torch.randn(size, size, dtype=TYPES[dtype]) for _ in range(2))
    return no_grad(lambda: F.linear(a, b))


def attention(dtype):
    q, k, v = (torch.randn(1, 4096, 16, 64, dtype=TYPES[dtype]).transpose(1, 2) for _ in range(3))
    return no_grad(lambda: F.scaled_dot_product_attention(q, k, v))


def part(data, prefix):
    return {name[len(prefix):]: tensor for name, tensor in data.items() if name.startswith(prefix)}


def check(name, expected, actual):
    for key, value in expected.items():
        error = ((actual[key] - value).abs().max() / value.abs().max().clamp_min(1e-6)).item()
        if not error <= TOLERANCE:
            sys.exit(f'{name}: {key} differs from ours by {error:.2e} of its largest value')


def case_data(ours, base):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'case.safetensors')
        config = ours.ask('data', base, path)['config']
        return load(path), config


def update(ours, name):
    """The twin of an update from the same noise: latents, ratios, gradients and number of forwards must be ours."""
    data, config = case_data(ours, 'train-update')
    twin = TrainUpdate(part(data, 'weight.'), part(data, 'lora.'), part(data, 'input.'), config)
    check(name, part(data, 'output.'), twin.repeat())
    check(name, part(data, 'grad.'), {key: weight.grad for key, weight in twin.adapters.items()})
    twin.autocast = name.endswith('-autocast')
    return twin.run


def network(ours, name):
    """Builds the twin on our parameters, checks that it computes the same, and returns what is timed."""
    base = name.removesuffix('-mixed')
    data, config = case_data(ours, base)
    weights, inputs = part(data, 'weight.'), part(data, 'input.')
    if base.startswith('vggt'):
        model = Vggt(weights, config)
        with torch.no_grad():
            check(base, part(data, 'output.'), model.forward(inputs['images']))
        return no_grad(lambda: model.forward(inputs['images']))
    model = Flux(weights, config)
    forward = lambda: model.forward(inputs, config['outputTokens'])
    with torch.no_grad():
        check(base, part(data, 'output.'), {'velocity': forward()})
    if 'train' not in base:
        return no_grad(forward)
    for weight in weights.values():
        weight.requires_grad_()

    def train():
        for weight in weights.values():
            weight.grad = None
        forward().square().mean().backward()

    train()
    check(base, part(data, 'grad.'), {key: weight.grad for key, weight in weights.items()})
    return train


def cases():
    for dtype in TYPES:
        for size in (1024, 2048, 4096):
            yield f'gemm-{size}-{dtype}', lambda ours, name, size=size, dtype=dtype: gemm(size, dtype), 0.8
    for dtype in TYPES:
        yield f'attention-{dtype}', lambda ours, name, dtype=dtype: attention(dtype), None
    for name, required in (('flux-forward-1', None), ('flux-forward-4', None), ('flux-train-1', 1.0), ('flux-train-4', 1.0),
                           ('flux-train-4-mixed', None), ('vggt-forward', 1.0)):
        yield name, network, required
    for suffix in ('', '-mixed', '-autocast'):
        yield 'train-update' + suffix, update, 1.0


def main():
    ours, results = Ours(), []
    print(f'torch {torch.__version__}, {options.threads} threads, {options.rounds} rounds of {options.seconds} s a side')
    print(f'{"case":<22}{"ours ms":>11}{"torch ms":>11}{"ratio":>8}{"must":>7}')
    for name, make, required in cases():
        if options.filter not in name:
            continue
        torch.set_float32_matmul_precision('highest')
        run = make(ours, name)
        torch.set_float32_matmul_precision('medium' if name.endswith('-mixed') else 'highest')
        mine, theirs, ratios, parts = [], [], [], ([], [])
        for _ in range(options.rounds):
            a, b = ours.ask('time', name, options.seconds), slot(run)
            a_times = a['cpu' if options.cpu else 'ms']
            mine, theirs = mine + a_times, theirs + b['ms']
            parts = parts[0] + a['parts'], parts[1] + b['parts']
            ratios.append(statistics.median(b['ms']) / statistics.median(a_times))
        ratio = statistics.median(ratios)
        results.append({'case': name, 'ours_ms': statistics.median(mine), 'torch_ms': statistics.median(theirs),
                        'ratio': ratio, 'ratios': ratios, 'must': required})
        print(f'{name:<22}{results[-1]["ours_ms"]:>11.3f}{results[-1]["torch_ms"]:>11.3f}{ratio:>8.2f}'
              f'{"" if required is None else f"{required:.1f}":>7}{"" if required is None or ratio >= required else "  BELOW"}',
              flush=True)
        for key in parts[1][0] if parts[1] else ():
            a, b = (statistics.median(one[key] for one in side) for side in parts)
            results[-1].setdefault('parts', {})[key] = {'ours_ms': a, 'torch_ms': b, 'ratio': b / a}
            print(f'    {key:<18}{a:>11.3f}{b:>11.3f}{b / a:>8.2f}')
        if options.ops and make in (network, update):
            for op in ours.ask('ops', name)['ops']:
                print(f'    {op["op"]:<26}{op["calls"]:>6} calls{1e3 * op["seconds"]:>10.3f} ms')
    if options.json:
        with open(options.json, 'w') as file:
            json.dump({'torch': torch.__version__, 'threads': options.threads, 'date': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
                       'cases': results}, file, indent=2)
    return 0 if all(r['must'] is None or r['ratio'] >= r['must'] for r in results) else 1


if __name__ == '__main__':
    sys.exit(main())
