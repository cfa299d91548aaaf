import { existsSync, readFileSync, statSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { reconstructionPsnr } from '../../src/app/pretrain/vae';
import { proceduralPool } from '../../src/app/pretrain/data';
import type { PicturePool } from '../../src/app/pretrain/data';
import { confidenceByIndependent, evaluateVerifier } from '../../src/app/pretrain/verifier';
import { AutoencoderKL } from '../../src/models/vae/autoencoder';
import type { VaeConfig } from '../../src/models/vae/config';
import { loadVggt, parseVggtConfig } from '../../src/models/vggt';
import { loadScene, loadView } from '../../src/scene';
import { Device } from '../../src/tensor/device';
import { SafetensorsWeights } from '../../src/tensor/safetensors';
import { Weights } from '../../src/tensor/weights';
import { describeWithScene } from '../scenes';

const tiny = resolve(__dirname, '../../assets/tiny');

function loadVae(device: Device): AutoencoderKL {
  const config = JSON.parse(readFileSync(join(tiny, 'vae/config.json'), 'utf8')) as VaeConfig;
  return new AutoencoderKL(new Weights(new SafetensorsWeights(device, join(tiny, 'vae'))), config);
}

function bytesBelow(folder: string): number {
  return readdirSync(folder).reduce((sum, name) => {
    const path = join(folder, name);
    return sum + (statSync(path).isDirectory() ? bytesBelow(path) : statSync(path).size);
  }, 0);
}

describe('shipped tiny networks', () => {
  test('take at most 24 MB', () => {
    expect(existsSync(tiny)).toBe(true);
    expect(bytesBelow(tiny)).toBeLessThanOrEqual(24_000_000);
  });

  test('the autoencoder rebuilds procedural views it has not seen', async () => {
    using device = Device.open('cpu');
    const psnr = await reconstructionPsnr(loadVae(device), device, proceduralPool('test', 24, 96));
    expect(psnr).toBeGreaterThan(26);
  });
});

describe('the tiny verifier, on held-out scenes', () => {
  const device = Device.open('cpu');
  const folder = join(tiny, 'verifier');
  const config = parseVggtConfig(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')), folder);
  const model = loadVggt(new SafetensorsWeights(device, folder, { dtype: 'f32' }), config);
  afterAll(() => {
    model.dispose();
    device.dispose();
  });

  // Over 100 scenes: floor 1.00, object .83 (three views) and .84 (four), depth 4.2 %, rotation 6.5 degrees.
  test('tells views that agree from the same views that do not', async () => {
    const figures = await evaluateVerifier(model, device, { scenes: 40, views: 3 });
    process.stderr.write(`tiny verifier, 40 scenes: ${JSON.stringify(figures)}\n`);
    expect(figures['auc.floor']).toBeGreaterThanOrEqual(0.95);
    expect(figures['auc.object']).toBeGreaterThanOrEqual(0.75);
    expect(figures['auc.global']).toBeGreaterThanOrEqual(0.95);
    expect(figures.depthAbsRel).toBeLessThan(0.05);
    expect(figures.rotationDeg).toBeLessThan(8);
  }, 300_000);

  // With more than six of nine views edited independently nothing is left to agree with: the curve is flat there.
  test.each(['floor', 'object'] as const)('trusts nine views less the more of them have a %s of their own', async (kind) => {
    const curve = await confidenceByIndependent(model, device, { scenes: 16, kind });
    process.stderr.write(`log confidence by independent views, ${kind}: ${curve.map((value) => value.toFixed(3)).join(' ')}\n`);
    for (let k = 1; k <= 6; k++) expect(curve[k]).toBeLessThan(curve[k - 1]);
    expect(Math.max(...curve.slice(7))).toBeLessThan(curve[4]);
  }, 300_000);
});

describeWithScene('bear', (path) => {
  test('the tiny autoencoder rebuilds photographs it has not seen: 96-pixel views at 22 dB or more', async () => {
    using device = Device.open('cpu');
    const scene = await loadScene(path);
    const size = 96;
    const pixels = 3 * size * size;
    const views = scene.views.filter((_, i) => i % 4 === 0);
    const data = new Uint8Array(views.length * pixels);
    for (const [v, view] of views.entries()) {
      const { image } = await loadView(view, { width: size, height: size });
      for (let k = 0; k < pixels; k++) data[v * pixels + k] = Math.round(Math.min(1, Math.max(0, image.data[k])) * 255);
    }
    const pool: PicturePool = { data, count: views.length, size };
    const psnr = await reconstructionPsnr(loadVae(device), device, pool);
    process.stderr.write(`tiny autoencoder on bear, ${views.length} views at ${size} px: ${psnr.toFixed(2)} dB\n`);
    expect(psnr).toBeGreaterThanOrEqual(22);
  });
});
