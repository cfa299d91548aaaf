// Loads one build of the add-on and prints what it says of itself and what its ops give on the CPU, as JSON.
// usage: node op-results.cjs path/to/rl3dedit.node
const binding = require(require('node:path').resolve(process.argv[2]));

const device = binding.createDevice('cpu').handle;
let state = 1;
/** Repeatable numbers in (-1, 1). */
function numbers(count) {
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32) * 2 - 1;
  });
}
function tensor(shape, data = numbers(shape.reduce((a, b) => a * b, 1))) {
  const handle = binding.empty(device, shape, data instanceof Int32Array ? 'i32' : 'f32');
  binding.upload(handle, data);
  return handle;
}
const first = (result) => (Array.isArray(result) ? result[0] : result);

const ops = binding.ops;
const cases = {
  matmul: () => ops.matmul(tensor([37, 65]), tensor([65, 29]), null, false, false, 'none'),
  'linear gelu': () => ops.matmul(tensor([5, 64]), tensor([48, 64]), tensor([48]), false, true, 'gelu_tanh'),
  attention: () => {
    const [q, k, v] = [tensor([2, 19, 3, 16]), tensor([2, 23, 3, 16]), tensor([2, 23, 3, 16])];
    return first(ops.attention(q, k, v, null, 0.25, false, false));
  },
  rmsnorm: () => ops.rmsnorm(tensor([7, 96]), tensor([96]), 1e-6),
  layernorm: () => ops.layernorm(tensor([7, 96]), tensor([96]), tensor([96]), 1e-5),
  modulate: () => ops.modulate(tensor([2, 5, 32]), tensor([2, 32]), tensor([2, 32]), 1e-6),
  'gated residual': () => ops.gated_residual(tensor([2, 5, 32]), tensor([2, 32]), tensor([2, 5, 32])),
  rope: () => ops.rope(tensor([1, 6, 2, 8]), tensor([6, 4]), tensor([6, 4]), 2, false),
  embedding: () => ops.embedding(tensor([3], Int32Array.of(4, 0, 2)), tensor([5, 8])),
  'sinusoidal embedding': () => ops.sinusoidal_embedding(tensor([3]), 32),
  conv2d: () => ops.conv2d(tensor([2, 3, 11, 9]), tensor([5, 3, 3, 3]), tensor([5]), 2, [1, 1, 1, 1]),
  'group norm': () => first(ops.group_norm(tensor([2, 8, 5, 5]), tensor([8]), tensor([8]), 4, 1e-6, true)),
  'resize bicubic': () => ops.resize_bicubic(tensor([1, 2, 9, 13]), 6, 7, true),
  patchify: () => ops.patchify(tensor([1, 3, 8, 6]), 2),
  softmax: () => ops.softmax(tensor([9, 33]), false),
  'sum over rows': () => ops.reduce(tensor([9, 33]), 'sum', [0], false),
  'broadcast product': () => ops.binary(tensor([4, 1, 6]), tensor([5, 6]), 'mul'),
  permute: () => ops.permute(tensor([3, 4, 5]), [2, 0, 1]),
  silu: () => ops.unary(tensor([1001]), 'silu'),
  randn: () => {
    const out = binding.empty(device, [77], 'f32');
    ops.randn(out, 7, 3, 5, 0, 1);
    return out;
  },
};

async function main() {
  const results = {};
  for (const [name, run] of Object.entries(cases)) {
    results[name] = Array.from(new Float32Array(await binding.read(run())));
  }
  let cuda = null;
  try {
    binding.createDevice('cuda');
  } catch (error) {
    cuda = { code: error.code, message: error.message };
  }
  const names = { exports: Object.keys(binding).sort(), ops: Object.keys(ops).sort() };
  process.stdout.write(JSON.stringify({ info: binding.buildInfo(), ...names, results, cuda }));
}

main();
