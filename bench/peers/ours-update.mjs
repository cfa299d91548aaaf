// The transformer's share of one update of the demo's training, on random networks: rollouts of all groups, then scoring,
// backward and the optimiser's step. The project's own functions run; scenes, decoding and verification are left out.
const tinyBias = 0.02;

export async function trainUpdate(load, device) {
  const { loadEditor } = load('./app/model');
  const { Policy } = load('./app/train/policy');
  const { disposeBatches, rollOut } = load('./app/train/rollout');
  const { accumulate } = load('./app/train/update');
  const { updateSettings } = load('./app/bench/train-update');
  const { createLora } = load('./models/lora');
  const { randn, scaleInPlace, sdeCoefficients, sumOfSquares } = load('./tensor/ops');
  const { AdamW } = load('./tensor/optim');
  const { scope } = load('./tensor/scope');
  const { TEXT_LENGTH } = load('./app/pretrain/instructions');

  const settings = updateSettings('random:tiny', 3);
  const { group: size, groupsPerUpdate, window, optimizer: rates } = settings;
  const editor = await loadEditor(settings.model, device, { dtype: 'f32', seed: settings.seed });
  const policy = await Policy.open(editor, {});
  const lora = createLora(device, policy.model.weights.registered(), { ...settings.adapter, seed: 5 }).train();
  const parameters = lora.parameters();
  // The zeros that B starts with would hide the gradient of A and the distance to the base.
  for (const [i, [name, tensor]] of [...parameters].entries()) {
    if (!name.includes('lora_B')) continue;
    randn(tensor, { seed: 6, stream: i });
    scaleInPlace(tensor, tinyBias);
  }
  const optimizer = new AdamW(parameters, rates);
  const { signal } = new AbortController();
  const side = editor.settings.view_size;
  const picture = (seed) => {
    const data = Float32Array.from({ length: 3 * side * side }, (_, i) => 0.5 + 0.5 * Math.sin(0.01 * (seed + 1) * i));
    return { width: side, height: side, data };
  };
  const conditions = [];
  for (let g = 0; g < groupsPerUpdate; g++) {
    conditions.push(
      await policy.condition({
        instruction: `floor ${g}`,
        before: [0, 1, 2].map((v) => picture(3 * g + v)),
        cells: [g, 4, 8 - g],
        roles: { targets: [0, 2], contexts: [1] },
        contexts: [picture(20 + g)],
      }),
    );
  }
  const advantages = Array.from({ length: size }, (_, i) => (i - (size - 1) / 2) / size);
  const share = 1 / (window.size * size * groupsPerUpdate);

  /** Rollouts by group; their batches are the caller's. */
  async function rollOuts() {
    const groups = [];
    for (const [group, condition] of conditions.entries()) {
      groups.push(await rollOut(policy, condition, settings, { update: 0, group, start: window.first }, signal));
    }
    return groups;
  }

  /** Gradients of all groups by parameter, which the caller disposes, and the figures of the scored steps. */
  async function gradients(groups) {
    const sums = new Map([...parameters.values()].map((parameter) => [parameter, device.empty(parameter.shape)]));
    for (const sum of sums.values()) scaleInPlace(sum, 0);
    const figures = [];
    for (const { batches } of groups) {
      for (const batch of batches) {
        figures.push(await accumulate(policy, lora, batch, advantages, settings, share, sums));
      }
    }
    return { sums, figures };
  }

  async function run() {
    const begun = performance.now();
    const groups = await rollOuts();
    const rolled = performance.now();
    const { sums } = await gradients(groups);
    const total = scope(() => sumOfSquares([...sums.values()]));
    const norm = Math.sqrt((await total.toFloat32())[0]);
    if (norm > rates.gradientNorm) for (const sum of sums.values()) scaleInPlace(sum, rates.gradientNorm / norm);
    // At a rate of 0 the step costs the same and every update starts from the same networks.
    optimizer.step(sums, 0);
    await device.sync();
    for (const tensor of [total, ...sums.values()]) tensor.dispose();
    for (const { batches, latents } of groups) {
      disposeBatches(batches);
      latents.dispose();
    }
    return { rollouts: rolled - begun, update: performance.now() - rolled };
  }

  /** Everything a twin needs to repeat the update, and what must come out. */
  async function data() {
    const calls = [];
    const starts = [];
    const { velocity } = policy;
    policy.velocity = (x, ...rest) => {
      calls.push(x.dim(0));
      if (x.dim(0) === 1) starts.push(x.retain());
      return velocity.call(policy, x, ...rest);
    };
    const groups = await rollOuts();
    const rolled = calls.length;
    const { sums, figures } = await gradients(groups);
    policy.velocity = velocity;
    const tensors = new Map();
    for (const [name, parameter] of policy.model.weights.parameters) tensors.set(`weight.${name}`, parameter);
    for (const [name, parameter] of parameters) {
      tensors.set(`lora.${name}`, parameter);
      tensors.set(`grad.${name}`, sums.get(parameter));
    }
    for (const [g, { batches, latents }] of groups.entries()) {
      const { text, pooled, reference, imageIds } = conditions[g];
      const ids = new Float32Array(3 * (TEXT_LENGTH + imageIds.length));
      ids.set(imageIds.ids, 3 * TEXT_LENGTH);
      const given = { text, pooled, reference, ids: device.tensor(ids, [ids.length / 3, 3]), start: starts[g] };
      for (const [name, tensor] of Object.entries(given)) tensors.set(`input.${g}.${name}`, tensor);
      for (const [k, { next, mean, options }] of batches[0].steps.entries()) {
        const [a, b] = await Promise.all([next, mean].map((tensor) => tensor.toFloat32()));
        const { std } = sdeCoefficients(options);
        tensors.set(`input.${g}.noise.${k}`, device.tensor(a.map((value, i) => (value - b[i]) / std), next.shape));
      }
      tensors.set(`output.${g}.latents`, latents);
      tensors.set(`output.${g}.ratio`, device.tensor(Float32Array.from(figures[g].ratios)));
      tensors.set(`output.${g}.kl`, device.tensor(Float32Array.from(figures[g].kl)));
    }
    return tensors.set('output.forwards', device.tensor(Float32Array.from([rolled, ...calls])));
  }

  const [{ targetTokens }] = conditions;
  const { clip, kl, noiseLevel } = settings;
  const sigmas = policy.sigmas(settings.steps, conditions[0]);
  const { default_guidance: guidance } = editor.settings;
  const chosen = { guidance, size, window, clip, kl, noiseLevel, optimizer: rates };
  return { config: { ...editor.config, ...chosen, targetTokens, sigmas, share, advantages }, run, data };
}
