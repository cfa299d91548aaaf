// How well refitted splats show an edit in views that were not edited. A scene is fitted to its photographs; nine far-apart views of it are
// rendered and edited by a formula, so that the right picture of every other view is known. Prints a table; --json prints the figures.
//   node bench/studies/refit.mjs SCENE [--size 96] [--iterations 3000] [--seed 0] [--source FILE.ply] [--only NAME] [--pictures DIR] [--json]
// --source: the scene's splats at this size; fitted and written there when the file does not exist.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

const require = createRequire(import.meta.url);
const { Device, gaussians: splats, scenes } = require('../../dist/index.js');
const { Rng } = require('../../dist/scene/procedural/rng.js');

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: 'string', default: '96' },
    iterations: { type: 'string', default: '3000' },
    seed: { type: 'string', default: '0' },
    source: { type: 'string' },
    only: { type: 'string' },
    pictures: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const [size, iterations, seed] = [values.size, values.iterations, values.seed].map(Number);
const [editedViews, heldOutEvery] = [9, 7];
const signal = new AbortController().signal;
const device = Device.open('cpu');

const scene = await scenes.loadScene(positionals[0]);
const views = [];
for (const view of scene.views) views.push(await scenes.loadView(view, { width: size, height: size }));
const heldOut = views.filter((_, v) => v % heldOutEvery === 0).map(({ camera }) => camera);
const trained = views.filter((_, v) => v % heldOutEvery !== 0);
const extent = splats.sceneExtent(trained.map(({ camera }) => camera));

const cap = Math.round(1.2 * size * size);
const source = await sourceSplats();
const base = splats.Gaussians.fromCloud(device, source);
const photographs = views.filter((_, v) => v % heldOutEvery === 0);
const { psnr: basePsnr } = splats.meanFigures(await splats.evaluateViews(base, photographs));

async function sourceSplats() {
  if (values.source && existsSync(values.source)) return (await splats.readSplats(values.source)).cloud;
  const start = splats.cloudFromPoints(scene.points, { shDegree: 3, most: cap, rng: new Rng(seed, 301) });
  const fitted = splats.Gaussians.fromCloud(device, start);
  const recipe = splats.reconstructRecipe({ iterations, cap, strategy: 'mcmc' });
  for await (const _ of splats.fit(fitted, trained, recipe, { seed, signal, extent }));
  const cloud = await fitted.toCloud();
  fitted.dispose();
  if (values.source) await splats.writeSplats(values.source, cloud);
  return cloud;
}

/** A view of the base scene: picture, depth, and the world position of each pixel's surface. */
async function look(camera) {
  const rendering = await splats.rasterize(base, camera);
  const depth = await rendering.medianDepth.toFloat32();
  rendering.dispose();
  return { camera, depth, image: await splats.renderImage(base, camera) };
}

/** Cameras that stand far from each other. */
function farthest(cameras, count) {
  const centres = cameras.map(scenes.cameraCentre);
  const distance = (a, b) => Math.hypot(...[0, 1, 2].map((k) => centres[a][k] - centres[b][k]));
  const chosen = [0];
  while (chosen.length < count) {
    const gap = (v) => Math.min(...chosen.map((c) => distance(v, c)));
    chosen.push(cameras.map((_, v) => v).reduce((a, b) => (gap(b) > gap(a) ? b : a)));
  }
  return chosen.sort((a, b) => a - b).map((v) => cameras[v]);
}

const edited = [];
for (const camera of farthest(trained.map((view) => view.camera), editedViews)) edited.push(await look(camera));
const unseen = [];
for (const camera of heldOut) unseen.push(await look(camera));

/** Middle of what the cameras look at: the median of all surface points near the middle of the pictures. */
const middle = [0, 1, 2].map((k) => {
  const values = [];
  for (const { camera, depth } of edited) {
    for (let y = Math.floor(size * 0.3); y < size * 0.7; y++) {
      for (let x = Math.floor(size * 0.3); x < size * 0.7; x++) {
        if (depth[y * size + x] > 0) values.push(scenes.unproject(camera, x + 0.5, y + 0.5, depth[y * size + x])[k]);
      }
    }
  }
  return values.sort((a, b) => a - b)[values.length >> 1];
});
const distance = edited.reduce((sum, { camera }) => sum + Math.hypot(...scenes.cameraCentre(camera).map((x, k) => x - middle[k])), 0) / edited.length;

const dot = (a, b) => a.reduce((sum, x, k) => sum + x * b[k], 0);
const clamp = (x) => Math.min(1, Math.max(0, x));
/** Warm and dark: a matrix that no gain explains. */
const matrix = [[0.45, 0.5, 0.15], [0.3, 0.45, 0.1], [0.2, 0.25, 0.35]];
function recolour({ image }, inside = () => true, shift = [0, 0, 0]) {
  const pixels = size * size;
  const data = Float32Array.from(image.data);
  for (let i = 0; i < pixels; i++) {
    if (!inside(i)) continue;
    const rgb = [0, 1, 2].map((c) => image.data[c * pixels + i]);
    for (let c = 0; c < 3; c++) data[c * pixels + i] = clamp(matrix[c].reduce((sum, m, k) => sum + m * rgb[k], 0) + shift[c]);
  }
  return { ...image, data };
}
const shifts = new Rng(seed, 302);
const unit = edited.map(() => [0, 1, 2].map(() => shifts.range(-1, 1)));
const jitter = (v, most) => unit[v].map((x) => most * x);
const inBall = ({ camera, depth }) => (i) => {
  if (depth[i] <= 0) return false;
  const p = scenes.unproject(camera, (i % size) + 0.5, Math.floor(i / size) + 0.5, depth[i]);
  return Math.hypot(...p.map((x, k) => x - middle[k])) < 0.3 * distance;
};

/** An opaque checkered ball above the middle: the scene's Gaussians in front of it cover it as they cover each other. */
const up = edited.reduce((sum, { camera }) => scenes.upDirection(camera).map((x, k) => sum[k] + x / edited.length), [0, 0, 0]);
const ball = { centre: middle.map((x, k) => x + 0.28 * distance * up[k]), radius: 0.12 * distance };
/** Sub-pixels per side: photographs have no hard stairs either. */
const fine = 4;
async function withBall({ camera, depth, image }) {
  const pixels = size * size;
  const data = Float32Array.from(image.data);
  const { colour: front, alpha } = await inFrontOf(ball, camera);
  const seen = Float32Array.from(depth);
  const mask = new Uint8Array(pixels);
  const eye = scenes.cameraCentre(camera);
  const to = eye.map((x, k) => x - ball.centre[k]);
  for (let i = 0; i < pixels; i++) {
    const sum = [0, 0, 0];
    let [hits, near] = [0, 0];
    for (let s = 0; s < fine * fine; s++) {
      const [u, v] = [(i % size) + ((s % fine) + 0.5) / fine, Math.floor(i / size) + (Math.floor(s / fine) + 0.5) / fine];
      const ray = scenes.unproject(camera, u, v, 1).map((x, k) => x - eye[k]);
      const [a, b, c] = [dot(ray, ray), dot(ray, to), dot(to, to) - ball.radius ** 2];
      const root = b * b - a * c;
      const z = root > 0 ? (-b - Math.sqrt(root)) / a : 0;
      if (z <= 0) continue;
      const p = eye.map((x, k) => (x + z * ray[k] - ball.centre[k]) / ball.radius);
      const dark = p.reduce((cells, x) => cells + Math.floor(1.5 * x + 8.5), 0) % 2 === 0;
      (dark ? [0.75, 0.2, 0.15] : [0.95, 0.85, 0.7]).forEach((value, channel) => (sum[channel] += value));
      hits += 1;
      near += z;
    }
    if (hits === 0) continue;
    const share = hits / (fine * fine);
    for (let c = 0; c < 3; c++) {
      const covered = share * front[c * pixels + i] + (1 - alpha[i]) * (sum[c] / (fine * fine));
      data[c * pixels + i] = covered + (1 - share) * image.data[c * pixels + i];
    }
    if (share * (1 - alpha[i]) < 0.5) continue;
    seen[i] = near / hits;
    mask[i] = 1;
  }
  return { image: { ...image, data }, depth: seen, mask };
}

/** Colour and coverage, [3, H, W] and [H, W], of the Gaussians that stand before a ball. */
async function inFrontOf({ centre, radius }, camera) {
  const depthOf = (point) => scenes.project(camera, point).z;
  const kept = Array.from({ length: source.count }, (_, i) => i).filter((i) => {
    const mean = [...source.means.subarray(3 * i, 3 * i + 3)];
    return depthOf(mean) < depthOf(centre) && Math.hypot(...mean.map((x, k) => x - centre[k])) > radius;
  });
  const g = splats.Gaussians.fromCloud(device, splats.selectCloud(source, kept));
  const rendering = await splats.rasterize(g, camera);
  const [colour, alpha] = [await rendering.image.toFloat32(), await rendering.alpha.toFloat32()];
  rendering.dispose();
  g.dispose();
  return { colour, alpha };
}

const everywhere = () => new Uint8Array(size * size).fill(1);
const studies = {
  consistent: { preset: 'appearance', make: (view) => recolour(view), truth: (view) => ({ image: recolour(view), mask: everywhere() }) },
  jittered: { preset: 'appearance', make: (view, v) => recolour(view, undefined, jitter(v, 0.1)), truth: (view) => ({ image: recolour(view), mask: everywhere() }) },
  local: {
    preset: 'appearance',
    make: (view, v) => recolour(view, inBall(view), jitter(v, 0.06)),
    truth: (view) => ({ image: recolour(view, inBall(view)), mask: Uint8Array.from({ length: size * size }, (_, i) => (inBall(view)(i) ? 1 : 0)) }),
  },
  added: { preset: 'geometry', make: (view) => withBall(view), truth: (view) => withBall(view) },
  scratch: { preset: 'scratch', make: (view) => recolour(view), truth: (view) => ({ image: recolour(view), mask: everywhere() }) },
};

async function refitted(name, refitViews, preset) {
  if (preset !== 'scratch') {
    const work = splats.refit(device, source, refitViews, { preset, seed, signal, folds: 3 });
    for (;;) {
      const next = await work.next();
      if (next.done) return next.value;
    }
  }
  const g = splats.Gaussians.fromCloud(device, splats.cloudFromPoints(scene.points, { shDegree: 1, most: cap, rng: new Rng(seed, 303) }));
  const fitViews = refitViews.map(({ after, camera }) => ({ image: after, camera }));
  for await (const _ of splats.fit(g, fitViews, splats.reconstructRecipe({ iterations: 3000, cap, strategy: 'mcmc' }), { seed, signal, extent }));
  const figures = await splats.evaluateViews(g, fitViews);
  const cloud = await g.toCloud();
  g.dispose();
  return { cloud, iterations: 3000, leaveOneOut: [], fitPsnr: figures.map((figure) => figure.psnr), seeds: 0 };
}

/** Whether a point is the surface that one of the edited views shows there. */
function isShown(point, refitViews) {
  return refitViews.some(({ camera, depth }) => {
    const { u, v, z } = scenes.project(camera, point);
    const [x, y] = [Math.floor(u), Math.floor(v)];
    return z > 0 && x >= 0 && y >= 0 && x < size && y < size && Math.abs(depth[y * size + x] - z) <= 0.02 * z;
  });
}

const mean = (list) => list.reduce((sum, x) => sum + x, 0) / list.length;
const table = {};
for (const [name, { preset, make, truth }] of Object.entries(studies)) {
  if (values.only && values.only !== name) continue;
  const started = performance.now();
  const refitViews = [];
  for (const [v, view] of edited.entries()) {
    const made = await make(view, v);
    refitViews.push(made.image ? { before: view.image, after: made.image, camera: view.camera, depth: made.depth } : { before: view.image, after: made, camera: view.camera });
  }
  const result = await refitted(name, refitViews, preset);
  const g = splats.Gaussians.fromCloud(device, result.cloud);
  const [inside, outside, none, shown] = [[], [], [], []];
  for (const [v, view] of unseen.entries()) {
    const { image, mask, depth } = await truth(view);
    const rendered = await splats.renderImage(g, view.camera);
    if (mask.some((x) => x)) {
      inside.push(splats.psnr(rendered, image, mask));
      none.push(splats.psnr(view.image, image, mask));
      const where = (i) => scenes.unproject(view.camera, (i % size) + 0.5, Math.floor(i / size) + 0.5, depth[i]);
      const known = depth ? mask.map((x, i) => (x && isShown(where(i), refitViews) ? 1 : 0)) : mask;
      if (known.some((x) => x)) shown.push(splats.psnr(rendered, image, known));
    }
    if (mask.some((x) => !x)) outside.push(splats.psnr(rendered, image, mask.map((x) => 1 - x)));
    if (values.pictures && v === 3) {
      mkdirSync(values.pictures, { recursive: true });
      for (const [what, picture] of Object.entries({ source: view.image, truth: image, refit: rendered })) {
        writeFileSync(`${values.pictures}/${name}-${what}.png`, await scenes.encodePng(picture));
      }
    }
  }
  g.dispose();
  table[name] = {
    preset,
    noRefit: mean(none),
    heldOut: mean(inside),
    // Of surfaces that an edited view shows: nothing can know the others.
    heldOutShown: mean(shown),
    unedited: outside.length > 0 ? mean(outside) : null,
    edited: mean(result.fitPsnr.filter(Number.isFinite)),
    iterations: result.iterations,
    seeds: result.seeds,
    leaveOneOut: result.leaveOneOut.map(({ iteration, psnr }) => [iteration, Number(psnr.toFixed(2))]),
    seconds: (performance.now() - started) / 1000,
  };
  const row = table[name];
  console.error(`${name.padEnd(11)} ${preset.padEnd(10)} held out ${row.heldOut.toFixed(2)} dB (of what an edited view shows ${row.heldOutShown.toFixed(2)}, no refit ${row.noRefit.toFixed(2)}), unedited ${row.unedited?.toFixed(2) ?? '–'}, edited views ${row.edited.toFixed(2)}, ${row.iterations} iterations, ${row.seeds} seeds, ${row.seconds.toFixed(0)} s`);
}
const figures = { scene: scene.name, size, gaussians: source.count, baseIterations: iterations, basePsnr, heldOutViews: heldOut.length, studies: table };
console.error(`base: ${source.count} Gaussians, ${basePsnr.toFixed(2)} dB on ${heldOut.length} photographs held out`);
if (values.json) console.log(JSON.stringify(figures, null, 2));
base.dispose();
device.dispose();
