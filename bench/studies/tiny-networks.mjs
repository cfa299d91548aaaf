// What the shipped tiny verifier and editor can do, on scenes they have not seen: the gate that a verifier must pass before training by
// reinforcement, and the editor's error to the nearest valid edit, of floors and of single objects.
//   node bench/studies/tiny-networks.mjs [--model tiny] [--scenes 100] [--json]
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const require = createRequire(import.meta.url);
const load = (name) => require(`../../dist/${name}.js`);
const { Device } = load('tensor/device');
const { SafetensorsWeights } = load('tensor/safetensors');
const { loadVggt, parseVggtConfig } = load('models/vggt/index');
const { confidenceByIndependent, evaluateVerifier } = load('app/pretrain/verifier');
const { loadEditor } = load('app/model');
const { evaluatePolicy } = load('app/train/evaluate');
const { openWorkshop } = load('app/train/workshop');
const { trainSchema } = load('config/train');

const { values } = parseArgs({
  options: { model: { type: 'string', default: 'tiny' }, scenes: { type: 'string', default: '100' }, json: { type: 'boolean', default: false } },
});
const scenes = Number(values.scenes);
const signal = new AbortController().signal;
const device = Device.open('cpu');
const folder = values.model === 'tiny' ? new URL('../../assets/tiny', import.meta.url).pathname : values.model;

const path = join(folder, 'verifier');
const config = parseVggtConfig(JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')), path);
const model = loadVggt(new SafetensorsWeights(device, path, { dtype: 'f32' }), config);
const verifier = {};
for (const views of [3, 4]) verifier[`${views} views`] = await evaluateVerifier(model, device, { scenes, views });
for (const kind of ['floor', 'object']) {
  verifier[`log confidence by independent views, ${kind}`] = await confidenceByIndependent(model, device, { scenes: Math.ceil(scenes / 4), kind });
}
model.dispose();

/** Edits of three views at once, without a finished one. */
async function editorFigures(family) {
  const settings = trainSchema.parse({
    out: join(tmpdir(), 'unused'), model: values.model, device: 'cpu', views: 3, data: { world: { families: [family] } }, adapter: { rank: 1 },
  });
  const editor = await loadEditor(settings.model, device, { signal });
  const workshop = await openWorkshop(settings, device, editor, signal);
  const { policy } = workshop.run;
  const figures = await evaluatePolicy(policy, workshop.world, { samples: scenes, steps: 6, anchorGuided: false, noise: 'independent', seed: 1 }, signal);
  await workshop.dispose();
  editor.dispose();
  return { quality: figures.quality, untouched: figures.untouched, unedited: figures.unedited, agreement: figures.agreement, entropy: figures.entropy };
}
const editor = { floor: await editorFigures('floor-any'), object: await editorFigures('object-colour-any') };
editor.objectOverFloor = editor.object.quality / editor.floor.quality;
device.dispose();
const round = (_, value) => (typeof value === 'number' ? Number(value.toPrecision(4)) : value);
console.log(JSON.stringify({ model: values.model, scenes, verifier, editor }, round, values.json ? 0 : 2));
