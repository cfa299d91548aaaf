// The project's side of the splatting comparison (splat_compare.py starts it), on inputs of splat-inputs.mjs.
//   node bench/peers/ours-splat.mjs step FILE OUT   picture, loss, gradients and steps on the probe Gaussians, as safetensors
//   node bench/peers/ours-splat.mjs fit FILE SEED   the fit and its figures on both sets of views, as one JSON line
//   node bench/peers/ours-splat.mjs still FILE SEED   the same without MCMC, and the order of the views
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = process.env.RL3DEDIT_DIST ?? resolve(dirname(fileURLToPath(import.meta.url)), '../../dist');
const load = createRequire(`${dist}/`);
const { evaluateViews, fit, Gaussians, meanFigures, parameterNames, rasterize } = load('./scene/gaussians');
const { Device } = load('./tensor/device');
const { mcmcRelocation, photometricLoss } = load('./tensor/ops');
const { SafetensorsFile, writeSafetensors } = load('./tensor/safetensors');

const [command, path, argument] = process.argv.slice(2);
const device = Device.open('cpu');
device.binding.setThreads(Number(process.env.PEER_THREADS ?? 1));
const file = new SafetensorsFile(device, path);
const { recipe, extent, trained, heldOut } = JSON.parse(file.metadata.settings);

async function read(name) {
  const tensor = file.load(name);
  return { shape: tensor.shape, data: await tensor.toFloat32() };
}

const cameras = (await read('cameras')).data;
const views = [];
for (let v = 0; v < trained + heldOut; v++) {
  const { shape, data } = await read(`image.${v}`);
  const [, height, width] = shape;
  const [fx, fy, cx, cy, ...pose] = cameras.slice(16 * v, 16 * v + 16);
  const worldToCam = Float64Array.from([...pose, 0, 0, 0, 1]);
  views.push({ image: { width, height, data }, camera: { width, height, fx, fy, cx, cy, worldToCam } });
}

/** A copy: the file's own memory is not to be written to. */
async function gaussiansOf(prefix) {
  const parameters = {};
  for (const name of parameterNames) {
    const { shape, data } = await read(`${prefix}.${name}`);
    parameters[name] = device.tensor(data, shape);
  }
  return new Gaussians(device, parameters, 3);
}

const { signal } = new AbortController();
const drain = async (run) => {
  for await (const _ of run);
};

/** Of one view with all harmonics; `after` steps Gaussians stay as many as they are. */
async function step() {
  const out = new Map();
  const [view] = views;
  const gaussians = await gaussiansOf('probe');
  const rendering = await rasterize(gaussians, view.camera, { background: recipe.background });
  const { width, height, data } = view.image;
  const { terms, gradient } = photometricLoss(rendering.image, device.tensor(data, [3, height, width]), undefined, recipe.ssimWeight);
  const { parameters } = rendering.backward({ image: gradient });
  out.set('image', rendering.image).set('terms', terms);
  for (const name of parameterNames) out.set(`gradient.${name}`, parameters[name]);
  for (const steps of [1, 10]) {
    const moved = await gaussiansOf('probe');
    const fixed = { ...recipe, iterations: steps, degreeEvery: 0, decay: {}, strategy: { kind: 'fixed' } };
    await drain(fit(moved, [view], fixed, { seed: 0, signal, extent }));
    for (const name of parameterNames) out.set(`after${steps}.${name}`, moved.parameters[name]);
  }
  const rows = gaussians.count;
  const copies = Int32Array.from({ length: rows }, (_, i) => 1 + (i % 51));
  const opacities = Float32Array.from((await read('probe.opacityLogits')).data, (logit) => 1 / (1 + Math.exp(-logit)));
  const scales = (await read('probe.logScales')).data.map(Math.exp);
  const moved = mcmcRelocation(device.tensor(opacities, [rows]), device.tensor(scales, [rows, 3]), device.tensor(copies, [rows]));
  out.set('relocated.opacities', moved.opacities).set('relocated.scales', moved.scales);
  await writeSafetensors(argument, out);
}

async function fitted(used) {
  const gaussians = await gaussiansOf('start');
  // A fit asks for the camera of a view once an iteration, and before the first to check it.
  const asked = [];
  const watched = views.slice(0, trained).map(({ image, camera }, v) => ({
    image,
    get camera() {
      asked.push(v);
      return camera;
    },
  }));
  const begun = performance.now();
  const before = process.cpuUsage();
  await drain(fit(gaussians, watched, used, { seed: Number(argument), signal, extent }));
  const { user } = process.cpuUsage(before);
  const seconds = (performance.now() - begun) / 1000;
  const figures = async (some) => meanFigures(await evaluateViews(gaussians, some));
  const result = {
    train: await figures(views.slice(0, trained)),
    heldOut: await figures(views.slice(trained)),
    count: gaussians.count,
    seconds,
    cpuSeconds: user / 1e6,
    order: asked.slice(-used.iterations),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

const still = { ...recipe, strategy: { kind: 'fixed' } };
await (command === 'step' ? step() : fitted(command === 'still' ? still : recipe));
