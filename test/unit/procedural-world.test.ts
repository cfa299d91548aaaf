import { cos, cross, dot, sin, sub, tan, type Vec3 } from '../../src/scene/procedural/math';
import {
  cameraCentre, encodeCameras, encodeScene, hash, heldOut, objectName, renderViews, Rng, sampleScene, seedOf,
  shapeNames, splitOf, splits, textureNames, visibleFraction, type ProceduralScene, type Raycast,
} from '../../src/scene/procedural';

function fnv(values: Float32Array): string {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let h = 0x811c9dc5;
  for (const byte of bytes) h = Math.imul(h ^ byte, 0x01000193) >>> 0;
  return h.toString(16);
}

const average = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const trainScenes = Array.from({ length: 150 }, (_, i) => sampleScene(seedOf('train', i * 6661)));
const unseenScenes = Array.from({ length: 150 }, (_, i) => sampleScene(seedOf('unseen', i)));
const everyScene = [...trainScenes, ...unseenScenes];

describe('procedural arithmetic', () => {
  it('has trigonometry equal to the library to 1e-14', () => {
    for (let x = -12; x < 12; x += 0.0137) {
      expect(Math.abs(sin(x) - Math.sin(x))).toBeLessThan(1e-14);
      expect(Math.abs(cos(x) - Math.cos(x))).toBeLessThan(1e-14);
    }
    expect(tan(0.5)).toBeCloseTo(Math.tan(0.5), 14);
  });

  it('draws uniform, independent, repeatable numbers', () => {
    const bins = new Array<number>(16).fill(0);
    const rng = new Rng(7, 3);
    for (let i = 0; i < 16000; i++) bins[rng.int(16)]++;
    // chi-square with 15 degrees of freedom: 37.7 is the 0.1 % point
    expect(bins.reduce((sum, n) => sum + ((n - 1000) * (n - 1000)) / 1000, 0)).toBeLessThan(37.7);
    const drawn = new Set<number>();
    for (const seed of [0, 1, 2 ** 32, -1]) {
      for (const id of [1, 2]) for (let i = 0; i < 500; i++) drawn.add(hash(seed, 0, id, i));
    }
    expect(drawn.size).toBe(4000);
    expect(new Rng(123, 5, 4).next()).toBe(hash(123, 4, 5, 0));
  });
});

describe('procedural scenes', () => {
  it('are the same bytes for the same seed, everywhere', () => {
    const size = { width: 64, height: 48, spp: 4 };
    const hashes = [0, 123456, 1_000_007, 3_000_001].map((seed) => {
      const scene = sampleScene(seed);
      expect(sampleScene(seed)).toEqual(scene);
      return `${fnv(encodeScene(scene))} ${fnv(encodeCameras(scene.cameras.views, size))}`;
    });
    expect(hashes).toEqual(['838791ff e7b97665', 'c4f4ee87 dda4f61f', 'f6bbd934 e19e2920', '55733832 b84430bb']);
  });

  it('hold 2-5 uniquely named objects that stand on the floor and do not overlap', () => {
    for (const { objects } of everyScene) {
      expect(objects.length).toBeGreaterThanOrEqual(2);
      expect(objects.length).toBeLessThanOrEqual(5);
      expect(new Set(objects.map(objectName)).size).toBe(objects.length);
      for (const o of objects) {
        if (o.shape === 'sphere' || o.shape === 'box') expect(o.position[2]).toBeCloseTo(o.dimensions[0], 12);
        expect(o.position[2]).toBeGreaterThan(0.1);
        expect(Math.hypot(o.position[0], o.position[1])).toBeLessThan(1.31);
        const r = o.rotation;
        const rows = [0, 3, 6].map((k): Vec3 => [r[k], r[k + 1], r[k + 2]]);
        rows.forEach((a, i) => rows.forEach((b, j) => expect(dot(a, b)).toBeCloseTo(i === j ? 1 : 0, 12)));
        for (const other of objects) {
          if (other === o) continue;
          const d = sub(o.position, other.position);
          expect(Math.hypot(d[0], d[1])).toBeGreaterThan(0.8); // two small radii of 0.36 and the gap
        }
      }
    }
  });

  it('show every shape, texture, floor and sky, and keep held-out looks to the unseen split', () => {
    type Key = (s: ProceduralScene) => string[];
    const shown = (scenes: readonly ProceduralScene[], key: Key) => new Set(scenes.flatMap(key));
    expect(shown(trainScenes, (s) => s.objects.map((o) => o.shape)).size).toBe(shapeNames.length);
    expect(shown(trainScenes, (s) => s.objects.map((o) => o.texture.name)).size).toBe(7);
    expect(shown(trainScenes, (s) => [s.floor.name]).size).toBe(8);
    expect(shown(trainScenes, (s) => [s.sky.name]).size).toBe(6);
    const isHeldOut = (s: ProceduralScene) =>
      s.objects.some(
        (o) => o.colour === heldOut.colour || (o.shape === heldOut.shape && o.texture.name === heldOut.texture),
      );
    expect(trainScenes.filter(isHeldOut)).toEqual([]);
    expect(unseenScenes.filter(isHeldOut).length).toBeGreaterThan(30);
    for (const s of trainScenes) expect(s.cameras.spanDeg).toBeLessThan(heldOut.maxSpanDeg);
    for (const s of unseenScenes) expect(s.cameras.spanDeg).toBeGreaterThanOrEqual(heldOut.maxSpanDeg);
  });

  it('are seen by nine cameras in arc order and six between them, all looking at the objects', () => {
    for (const { cameras, objects } of everyScene) {
      expect([cameras.views.length, cameras.heldOut.length]).toEqual([9, 6]);
      const turns: number[] = [];
      for (const camera of [...cameras.views, ...cameras.heldOut]) {
        const m = camera.worldToCam;
        const axes = [0, 4, 8].map((k): Vec3 => [m[k], m[k + 1], m[k + 2]]);
        axes.forEach((a, i) => axes.forEach((b, j) => expect(dot(a, b)).toBeCloseTo(i === j ? 1 : 0, 12)));
        const [right, down, forward] = axes;
        expect(dot(right, cross(down, forward))).toBeCloseTo(1, 12);
        const eye = cameraCentre(camera);
        expect(eye[2]).toBeGreaterThan(1);
        expect(down[2]).toBeLessThan(-0.7);
        const mean = [0, 1].map((k) => 0.8 * average(objects.map((o) => o.position[k])));
        const at: Vec3 = [mean[0], mean[1], 0.45];
        const inCamera = axes.map((a) => dot(a, sub(at, eye)));
        expect(Math.hypot(inCamera[0], inCamera[1]) / inCamera[2]).toBeLessThan(0.06);
        turns.push((Math.atan2(eye[1] - at[1], eye[0] - at[0]) * 180) / Math.PI);
      }
      for (let i = 1; i < 9; i++) {
        const step = (((turns[i] - turns[i - 1]) % 360) + 360) % 360;
        expect(step).toBeGreaterThan(2);
        expect(step).toBeLessThan(32);
      }
    }
  });

  it('reject seeds and indices outside the splits', () => {
    expect(splitOf(999_999)).toBe('train');
    expect(splitOf(1_000_000)).toBe('val');
    expect(splitOf(splits.test.first)).toBe('test');
    expect(() => splitOf(1_500_000)).toThrow(/seed 1500000 is in no split/);
    expect(() => splitOf(0.5)).toThrow(/in no split/);
    expect(() => seedOf('val', 1000)).toThrow(/scenes 0..999, asked for 1000/);
  });
});

describe('encoding and rendering', () => {
  it('packs the documented layout', () => {
    const scene = trainScenes[3];
    const packed = encodeScene(scene);
    const start = 22 + 4 * scene.sky.clouds.length;
    expect(packed.length).toBe(start + 27 * (scene.objects.length + 1));
    expect([...packed.subarray(0, 4)]).toEqual([1, scene.objects.length + 1, scene.sky.clouds.length, 20]);
    expect(packed[start]).toBe(6);
    scene.objects.forEach((o, i) => {
      const at = start + 27 * (i + 1);
      expect(shapeNames[packed[at]]).toBe(o.shape);
      expect([...packed.subarray(at + 1, at + 4)]).toEqual(o.position.map(Math.fround));
      expect(textureNames[packed[at + 16]]).toBe(o.texture.name);
      expect(packed[at + 20]).toBe(o.texture.seed);
    });
  });

  it('gives the ray caster pixel cameras and checks what comes back', () => {
    const scene = trainScenes[0];
    const size = { width: 8, height: 6, spp: 1 };
    let cameras = new Float32Array();
    const raycast: Raycast = (_, given) => {
      cameras = Float32Array.from(given);
      const pixels = (given.length / 16) * 48;
      const ids = Int32Array.from({ length: pixels }, (_v, i) => (i % 4 === 0 ? 2 : 0));
      return { rgb: new Float32Array(3 * pixels), depth: new Float32Array(pixels), ids };
    };
    const views = renderViews(scene, scene.cameras.views, size, raycast);
    expect(visibleFraction(views.ids, 9, 2)).toEqual(new Array(9).fill(0.25));
    const first = scene.cameras.views[0];
    const { fx, fy, cx, cy } = first;
    expect([...cameras.subarray(0, 4)]).toEqual([fx * 8, fy * 8, cx * 8, cy * 6].map(Math.fround));
    expect([...cameras.subarray(4, 16)]).toEqual(first.worldToCam.map(Math.fround));
    const short: Raycast = () => ({ rgb: new Float32Array(1), depth: new Float32Array(1), ids: new Int32Array(1) });
    expect(() => renderViews(scene, scene.cameras.views, size, short)).toThrow(/returned 1 rgb values, expected 1296/);
  });
});
