import {
  editTruth, jointPsnr, MeasureSet, mutualInformationBits, nearestAnswer, normalisedEntropy, openEdit, PairCounts, Rng,
  sampleScene, seedOf, selectTraced, sharpness, traceViews, warpError, type EditTruth, type OpenFamily,
} from '../../src/scene/procedural';
import { nativeRenderer } from '../../src/scene/procedural/native';

const { trace, shade } = nativeRenderer();
const size = { width: 96, height: 96, spp: 4 };

function truthOf(index: number, family: OpenFamily, views = [3, 4, 5]): EditTruth {
  const scene = sampleScene(seedOf('test', index));
  const cameras = views.map((view) => scene.cameras.views[view]);
  const traced = traceViews(scene, cameras, size, trace);
  return editTruth({ scene, edit: openEdit(scene, family), cameras, size, traced, shade });
}

const floors = [0, 1, 2, 3].map((index) => truthOf(index, 'floor-any'));
const picture = (truth: EditTruth, answer: number, view: number): Float32Array => truth.answers[answer].pictures[view];

/** All anchors of every truth; `follow` chooses the answer of a generated view. */
function filled(truths: readonly EditTruth[], follow: (anchor: number, view: number, truth: EditTruth) => number): MeasureSet {
  const set = new MeasureSet();
  for (const truth of truths) {
    truth.answers.forEach((_, anchor) => {
      const pictures = truth.source.map((__, v) => picture(truth, v === 0 ? anchor : follow(anchor, v, truth), v));
      set.add({ truth, pictures, anchor: 0 });
    });
  }
  return set;
}

describe('statistics', () => {
  const names = ['a', 'b', 'c', 'd'];

  it('mutual information has its closed forms', () => {
    expect(mutualInformationBits(names.map((name) => [name, name] as const))).toBeCloseTo(2, 12);
    expect(mutualInformationBits(names.flatMap((a) => names.map((b) => [a, b] as const)))).toBeCloseTo(0, 12);
    expect(mutualInformationBits([])).toBeNull();
  });

  it('the plug-in bias of independent names is (m - 1)^2 / (2 N ln 2), which the correction removes', () => {
    const rng = new Rng(1, 2);
    let plugIn = 0;
    let corrected = 0;
    for (let trial = 0; trial < 200; trial++) {
      const counts = new PairCounts();
      for (let i = 0; i < 200; i++) counts.add(rng.pick(names), rng.pick(names));
      plugIn += (counts.mutualInformationBits() as number) / 200;
      corrected += (counts.millerMadowBits() as number) / 200;
    }
    const bias = 9 / (400 * Math.LN2);
    expect(Math.abs(plugIn - bias)).toBeLessThan(0.2 * bias);
    expect(Math.abs(corrected)).toBeLessThan(0.2 * bias);
  });

  it('normalised entropy is 1 for uniform, 0 for constant names, null without a choice', () => {
    expect(normalisedEntropy(names, 4)).toBeCloseTo(1, 12);
    expect(normalisedEntropy(['a', 'a'], 4)).toBe(0);
    expect(normalisedEntropy(['a'], 1)).toBeNull();
  });
});

describe('pictures of the exact answers', () => {
  it.each(['floor-any', 'object-colour-any', 'sky-any'] as const)('%s changes nothing outside its region', (family) => {
    const truth = truthOf(1, family);
    truth.source.forEach((source, v) => {
      const { outside } = truth.regions[v];
      for (const { pictures } of truth.answers) {
        // A strip of far floor can be narrower than a pixel: its centre shows the sky two pixels away from any floor.
        const changed = source.filter((value, i) => outside[i % outside.length] && value !== pictures[v][i]).length;
        expect(changed / source.length).toBeLessThan(0.002);
      }
    });
  });

  it.each(['floor-any', 'object-colour-any'] as const)('%s: one answer agrees over views, different answers do not', (family) => {
    const truth = truthOf(2, family);
    const errors = truth.answers.map((answer) => warpError(truth, answer.pictures, 0).all.edited as number);
    const other = warpError(truth, truth.source.map((_, v) => picture(truth, v, v)), 0).all.edited as number;
    expect(Math.max(...errors)).toBeLessThan(0.03);
    expect(other).toBeGreaterThan(2 * Math.max(...errors));
  });

  it('are their own nearest answer without error', () => {
    for (const truth of floors) {
      truth.answers.forEach(({ name }, i) => {
        expect(nearestAnswer(truth, 1, picture(truth, i, 1))).toEqual({ index: i, name, error: 0 });
      });
      const { joint, oracle } = jointPsnr(truth, truth.source.map((_, v) => picture(truth, v, v)), [1, 2], 'region');
      expect(oracle).toBeCloseTo(90, 9);
      expect(joint).toBeLessThan(60);
    }
  });
});

describe('MeasureSet', () => {
  it('views that follow their anchor: full agreement, and all of it lost in the mixed control', () => {
    const summary = filled(floors, (anchor) => anchor).summary();
    expect(summary.agreement).toBe(1);
    expect(summary.quality).toBe(0);
    expect(summary.untouched as number).toBeLessThan(6.1e-6);
    expect(summary.mixedAgreement).toBe(0);
    expect(summary.mixedWarpError as number).toBeGreaterThan(1.6 * (summary.warpError as number));
    expect(summary.entropy as number).toBeGreaterThan(0.95);
    expect(summary.mutualInformationBits as number).toBeGreaterThan(2);
  });

  it('views that always show one answer: no entropy, and the mixed control changes nothing but for the anchor', () => {
    const truth = floors[0];
    const summary = filled([truth], () => 2).summary();
    expect(summary.entropy).toBe(0);
    expect(summary.mutualInformationBits).toBeCloseTo(0, 12);
    expect(summary.agreementAmongViews).toBe(1);
    expect(summary.mixedWarpError).toBeCloseTo(summary.warpError as number, 12);
  });

  it('tells no edit and blur from an honest edit', () => {
    const truth = floors[1];
    const idle = new MeasureSet().add({ truth, pictures: truth.source, anchor: null });
    expect(idle.unedited).toBe(1);
    expect(idle.editStrength).toBe(0);
    expect(idle.quality as number).toBeGreaterThan(0.02);
    const sharp = picture(truth, 0, 1);
    const blurred = sharp.map((value, i) => (value + (sharp[i + 1] ?? value) + (sharp[i - 1] ?? value)) / 3);
    expect(sharpness(truth, 1, sharp, 0)).toBeCloseTo(1, 12);
    expect(sharpness(truth, 1, blurred, 0) as number).toBeLessThan(0.7);
    const grey = sharp.map(() => 0.5);
    const painted = new MeasureSet().add({ truth, pictures: [sharp, grey, grey], anchor: 0 });
    expect(painted.chromaRatio).toBe(0);
    expect(painted.warpAmongViews).toBe(0);
    expect(painted.quality as number).toBeGreaterThan(0.05);
  });

  it('gives null, never NaN, when the region is not seen', () => {
    const truth = { ...floors[0], regions: floors[0].regions.map((region) => ({ ...region, measurable: false })), warps: [] };
    const set = new MeasureSet();
    set.add({ truth, pictures: truth.source, anchor: 0 });
    const summary = set.summary();
    expect(summary.samples).toBe(1);
    for (const key of ['warpError', 'agreement', 'quality', 'entropy', 'mixedWarpError', 'jointPsnr'] as const) {
      expect(summary[key]).toBeNull();
    }
    expect(JSON.stringify(summary)).not.toContain('NaN');
  });

  it('refuses samples that do not fit', () => {
    const [truth] = floors;
    expect(() => new MeasureSet().add({ truth, pictures: [], anchor: 0 })).toThrow(/0 pictures, the truth has 3 views/);
    expect(() => new MeasureSet().add({ truth, pictures: truth.source, anchor: 3 })).toThrow(/anchor 3/);
    const traced = { samples: new Uint8Array(8), depth: new Float32Array(2), ids: Int32Array.of(5, 6) };
    expect([...selectTraced(traced, 2, [1, 0]).ids]).toEqual([6, 5]);
    expect(() => selectTraced(traced, 2, [2])).toThrow(/view 2/);
  });
});
