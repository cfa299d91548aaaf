import {
  applyGlobalEdit, colourNames, editFamilies, encodeScene, globalEditNames, heldOut, objectName, sampleEdit,
  sampleScene, sceneEditNames, seedOf, wordingsOf, type EditableView, type EditFamily, type GlobalEditName,
  type ProceduralScene, type SceneEditName,
} from '../../src/scene/procedural';

const scenes = Array.from({ length: 300 }, (_, i) => sampleScene(seedOf('train', i * 3331)));
const unseen = Array.from({ length: 100 }, (_, i) => sampleScene(seedOf('unseen', i)));
const sceneFamilies: readonly SceneEditName[] = sceneEditNames;

/** Two pixels: [0.2, 0.5, 0.8] and white. Luma of the first is 0.4445. */
const pixels = Float32Array.from([0.2, 1, 0.5, 1, 0.8, 1]);

describe('global edits', () => {
  const expected: Readonly<Record<Exclude<GlobalEditName, 'sketch'>, readonly number[]>> = {
    sepia: [0.51006, 1, 0.39227, 0.87, 0.27559, 0.62],
    night: [0.04889, 0.22, 0.14667, 0.3, 0.38201, 0.55],
    warm: [0.2844, 1, 0.5, 0.99, 0.56, 0.7],
    cold: [0.132, 0.66, 0.5, 0.98, 0.93192, 1],
    grayscale: [0.4445, 1, 0.4445, 1, 0.4445, 1],
    invert: [0.8, 0, 0.5, 0, 0.2, 0],
    'high-contrast': [0.02, 1, 0.5, 1, 0.98, 1],
    brighter: [0.336, 1, 0.7125, 1, 0.936, 1],
  };

  it.each(Object.entries(expected))('%s is its formula on every pixel', (name, values) => {
    const out = applyGlobalEdit(name as GlobalEditName, pixels, 2, 1);
    values.forEach((value, i) => expect(out[i]).toBeCloseTo(value, 6));
    expect([...pixels]).toEqual([0.2, 1, 0.5, 1, 0.8, 1].map(Math.fround));
  });

  it('sketch leaves flat areas paper and draws the dark side of an edge', () => {
    const [w, h] = [64, 8];
    const step = Float32Array.from({ length: 3 * w * h }, (_, i) => (i % w < 32 ? 0.3 : 0.9));
    const out = applyGlobalEdit('sketch', step, w, h);
    const row = [...out.subarray(0, w)];
    expect(row[5]).toBeCloseTo(0.66 + 0.3 * (0.08 + 0.92 * 0.3), 5);
    expect(row[60]).toBeCloseTo(0.66 + 0.3 * (0.08 + 0.92 * 0.9), 5);
    expect(row[31]).toBeLessThan(0.2);
    expect(row[32]).toBeCloseTo(row[60], 5);
    expect([...out.subarray(w * h, w * h + w)]).toEqual(row);
  });

  it('refuses a picture of another size', () => {
    expect(() => applyGlobalEdit('sepia', pixels, 3, 1)).toThrow(/expected 3x1x3 = 9 values, got 6/);
  });

  it('are all different', () => {
    const noise = Float32Array.from({ length: 3 * 256 }, (_, i) => ((i * 7919) % 256) / 255);
    const seen = new Set(globalEditNames.map((name) => applyGlobalEdit(name, noise, 16, 16).join()));
    expect(seen.size).toBe(globalEditNames.length);
  });
});

describe('instructions', () => {
  it.each([...editFamilies])('%s has at least five wordings and two held out', (family) => {
    const [seen, kept] = [wordingsOf(family, false), wordingsOf(family, true)];
    expect(seen.length).toBeGreaterThanOrEqual(5);
    expect(kept.length).toBe(heldOut.wordings);
    expect(new Set([...seen, ...kept]).size).toBe(seen.length + kept.length);
  });

  it('no wording belongs to two families', () => {
    const all = editFamilies.flatMap((family) => [...wordingsOf(family, false), ...wordingsOf(family, true)]);
    expect(new Set(all).size).toBe(all.length);
  });

  it('are filled in, name the target, and depend on seed, family and index only', () => {
    for (const scene of [...scenes.slice(0, 60), ...unseen]) {
      for (const family of editFamilies) {
        const edit = sampleEdit(scene, family, 2);
        expect(sampleEdit(scene, family, 2).instruction).toBe(edit.instruction);
        expect(edit.instruction).not.toMatch(/[{}]|undefined/);
        if (family.startsWith('object')) expect(edit.instruction).toContain(objectName(scene.objects[scene.target]));
      }
    }
  });
});

describe('scene edits', () => {
  it.each([...sceneFamilies])('%s changes exactly what it says', (family) => {
    for (const scene of scenes.slice(0, 100)) {
      const edit = sampleEdit(scene, family);
      const [before, after] = [encodeScene(scene), encodeScene(edit.scene)];
      const changed = [...after.keys()].filter((i) => before[i] !== after[i]);
      expect(changed.length).toBeGreaterThan(0);
      const first = 22 + 4 * scene.sky.clouds.length;
      const primitive = family.startsWith('floor') ? 0 : scene.target + 1;
      const colours = first + 27 * primitive + 21;
      const [low, high] = family.startsWith('sky') ? [13, 22] : [colours, colours + 6];
      expect(changed.filter((i) => i < low || i >= high)).toEqual([]);
      expect(Object.keys(edit.latent).length).toBe(family.endsWith('-any') ? 1 : 0);
      expect(new Set(edit.scene.objects.map(objectName)).size).toBe(scene.objects.length);
    }
  });

  it('say the colour exactly when the instruction names it', () => {
    for (const scene of scenes.slice(0, 50)) {
      const colour = (family: EditFamily) => sampleEdit(scene, family).scene.objects[scene.target].colour;
      expect(sampleEdit(scene, 'object-colour').instruction).toContain(colour('object-colour'));
      expect(sampleEdit(scene, 'object-colour-any').latent).toEqual({ colour: colour('object-colour-any') });
      const { instruction } = sampleEdit(scene, 'object-colour-any');
      const rest = instruction.replace(objectName(scene.objects[scene.target]), '');
      expect(colourNames.filter((name) => rest.split(' ').includes(name))).toEqual([]);
    }
  });

  it('use the held-out colour in the unseen split only, and a skewed prior for open colours', () => {
    const drawn = (s: ProceduralScene) => sampleEdit(s, 'object-colour-any').latent.colour;
    expect(scenes.map(drawn)).not.toContain(heldOut.colour);
    const hasRed = (s: ProceduralScene) =>
      s.objects.some((o) => o.shape === s.objects[s.target].shape && o.colour === 'red');
    const redFree = scenes.filter((s) => !hasRed(s));
    const red = redFree.filter((s) => drawn(s) === 'red').length / redFree.length;
    expect(red).toBeGreaterThan(0.31); // 0.4 +- 3 standard deviations of 250 draws
    expect(red).toBeLessThan(0.49);
    expect(unseen.map((s) => sampleEdit(s, 'object-colour').scene.objects[s.target].colour)).toContain(heldOut.colour);
  });

  it('apply asks for the edited scene, global edits for the pixels', () => {
    const scene = scenes[0];
    const asked: unknown[] = [];
    const view: EditableView = { rgb: pixels, width: 2, height: 1, shade: (s) => (asked.push(s), new Float32Array(6)) };
    const recolour = sampleEdit(scene, 'object-colour');
    recolour.apply(view);
    expect(asked).toEqual([recolour.scene]);
    expect(sampleEdit(scene, 'invert').apply(view)).toEqual(applyGlobalEdit('invert', pixels, 2, 1));
    expect(asked.length).toBe(1);
    expect(() => sampleEdit(scene, 'melt' as EditFamily)).toThrow(/unknown edit family "melt"; expected one of sepia/);
  });
});
