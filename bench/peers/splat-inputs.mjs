// What both sides of the splatting comparison start from, as one safetensors file: pictures and cameras of a scene at a
// small size, the first Gaussians, and the recipe, in the file's metadata.
//   node bench/peers/splat-inputs.mjs SCENE FILE '{"size": 64, "views": 24, "every": 8, "start": 1000, "cap": 2000,
//     "iterations": 1000}'
// every: each n-th view is held out, the first among them. views: so many of the others are trained on, evenly spread.
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = process.env.RL3DEDIT_DIST ?? resolve(dirname(fileURLToPath(import.meta.url)), '../../dist');
const load = createRequire(`${dist}/`);
const { loadScene, loadView } = load('./scene');
const { cloudFromPoints, parameterNames, reconstructRecipe, sceneExtent } = load('./scene/gaussians');
const { Rng } = load('./scene/procedural/rng');
const { Device } = load('./tensor/device');
const { writeSafetensors } = load('./tensor/safetensors');

const shDegree = 3;
const [path, file, text] = process.argv.slice(2);
const { size, views: wanted, every, start, cap, iterations } = JSON.parse(text);
const scene = await loadScene(path);
const all = scene.views.map((_, v) => v);
const rest = all.filter((v) => v % every !== 0);
const train = Array.from({ length: Math.min(wanted, rest.length) }, (_, i) => rest[Math.floor((i * rest.length) / wanted)]);
const heldOut = all.filter((v) => v % every === 0);

const device = Device.open('cpu');
const tensors = new Map();
const loaded = [];
for (const v of [...train, ...heldOut]) {
  const { width, height } = scene.views[v].camera;
  const factor = size / Math.max(width, height);
  const { image, camera } = await loadView(scene.views[v], { width: Math.round(width * factor), height: Math.round(height * factor) });
  tensors.set(`image.${loaded.length}`, device.tensor(image.data, [3, image.height, image.width]));
  loaded.push(camera);
}
const rows = loaded.flatMap(({ fx, fy, cx, cy, worldToCam }) => [fx, fy, cx, cy, ...worldToCam.slice(0, 12)]);
tensors.set('cameras', device.tensor(Float32Array.from(rows), [loaded.length, 16]));

const cloud = cloudFromPoints(scene.points, { shDegree, most: start, rng: new Rng(0, 1) });
// The same Gaussians turned, stretched and coloured at random: their gradients are of every kind.
const rng = new Rng(0, 2);
const spread = { means: 0.01, quats: 0.5, logScales: 0.5, opacityLogits: 1.5, sh0: 0.3, shRest: 0.2 };
for (const name of parameterNames) {
  const shape = [cloud.count, ...{ quats: [4], opacityLogits: [], shRest: [15, 3] }[name] ?? [3]];
  tensors.set(`start.${name}`, device.tensor(cloud[name], shape));
  tensors.set(`probe.${name}`, device.tensor(cloud[name].map((value) => value + spread[name] * rng.normal()), shape));
}
const settings = {
  scene: scene.name,
  trained: train.length,
  heldOut: heldOut.length,
  extent: sceneExtent(loaded.slice(0, train.length)),
  recipe: reconstructRecipe({ iterations, cap, strategy: 'mcmc' }),
};
await writeSafetensors(file, tensors, { metadata: { settings: JSON.stringify(settings) } });
