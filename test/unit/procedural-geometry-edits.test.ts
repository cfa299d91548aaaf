import { nativeRenderer } from '../../src/scene/procedural/native';
import {
  allEditFamilies, cameraCentre, changedPixels, editAlternatives, editFamilies, editFits, encodeScene, extent, globalEditNames,
  heldOut, isClear, listedWorldFamilies, normalAt, objectName, openListedEdit, pixelCamera, project, renderEdit, renderViews,
  sampleEdit, sampleScene, seedOf, unproject, wordingsOf, worldEditFamilies, type EditedViews, type ProceduralEdit,
  type ProceduralScene, type SceneObject, type WorldEditFamily,
} from '../../src/scene/procedural';
import { dot, sub, type Vec3 } from '../../src/scene/procedural/math';

const scenes = Array.from({ length: 40 }, (_, i) => sampleScene(seedOf('train', i * 3331)));
const unseen = Array.from({ length: 20 }, (_, i) => sampleScene(seedOf('unseen', i * 7)));
const { raycast } = nativeRenderer();
const families: readonly WorldEditFamily[] = worldEditFamilies;
const size = { width: 64, height: 64, spp: 16 };
const pixels = 64 * 64;

function fnv(values: ArrayBufferView): string {
  let h = 0x811c9dc5;
  for (const byte of new Uint8Array(values.buffer, values.byteOffset, values.byteLength)) h = Math.imul(h ^ byte, 0x01000193) >>> 0;
  return h.toString(16);
}

function firstFit(family: WorldEditFamily): ProceduralScene {
  return scenes.find((scene) => editFits(scene, family))!;
}

/** Every sampled edit of the family. */
function sampled(family: WorldEditFamily): { scene: ProceduralScene; edit: ProceduralEdit }[] {
  return [...scenes, ...unseen].filter((scene) => editFits(scene, family)).map((scene) => ({ scene, edit: sampleEdit(scene, family) }));
}

describe('families of the procedural world', () => {
  it('stand beside those of pretraining, whose codes are what they were', () => {
    expect(editFamilies).toEqual([
      ...globalEditNames, 'object-colour', 'object-colour-any', 'floor', 'floor-any', 'sky', 'sky-any',
    ]);
    expect(allEditFamilies).toEqual([...editFamilies, ...worldEditFamilies]);
    expect(sampleEdit(scenes[0], 'object-colour-any', 1).latent).toEqual({ colour: 'red' });
  });

  it('have five wordings and two held out, and share none', () => {
    const all = allEditFamilies.flatMap((family) => [...wordingsOf(family, false), ...wordingsOf(family, true)]);
    expect(new Set(all).size).toBe(all.length);
    for (const family of families) {
      expect(wordingsOf(family, false).length).toBeGreaterThanOrEqual(5);
      expect(wordingsOf(family, true).length).toBe(heldOut.wordings);
    }
  });

  it('fit most scenes and say so where they do not', () => {
    const share = Object.fromEntries(families.map((family) => [family, scenes.filter((s) => editFits(s, family)).length / 40]));
    for (const family of families) expect(share[family]).toBeGreaterThan(family === 'emblem' ? 0.1 : 0.45);
    const ball = scenes.find((scene) => scene.objects[scene.target].shape === 'sphere')!;
    expect(() => sampleEdit(ball, 'emblem')).toThrow(/emblem edit: does not fit scene \d+ with target "\w+ ball"/);
    expect(() => openListedEdit(ball, 'marble')).toThrow(/marble edit: its answers cannot be listed; listed families are two-tone/);
  });

  it.each([...families])('%s depends on seed, family and index only and keeps names unique', (family) => {
    const found = sampled(family);
    for (const { scene, edit } of found) {
      const again = sampleEdit(scene, family);
      expect([again.instruction, again.latent, again.scene]).toEqual([edit.instruction, edit.latent, edit.scene]);
      expect(edit.instruction).not.toMatch(/[{}]|undefined/);
      const names = edit.scene.objects.map(objectName);
      expect(new Set(names).size).toBe(names.length);
      expect(edit.scene.target).toBeLessThan(names.length);
      expect([...encodeScene(edit.scene)].every(Number.isFinite)).toBe(true);
      expect(fnv(encodeScene(edit.scene))).not.toBe(fnv(encodeScene(scene)));
      const fresh = edit.scene.objects.filter((o) => !scene.objects.includes(o));
      expect(fresh.length).toBeLessThanOrEqual(1);
      if (edit.object !== undefined && fresh.length === 1) expect(edit.scene.objects[edit.object]).toBe(fresh[0]);
      if (scene.split !== 'unseen') {
        expect(JSON.stringify(edit.latent)).not.toContain(heldOut.colour);
        expect(fresh.filter((o) => o.colour === heldOut.colour || (o.shape === 'torus' && o.texture.name === 'stripes'))).toEqual([]);
      }
    }
    const filled = (wording: string): RegExp => new RegExp(`^${wording.replace(/\{\w+\}/g, '.+')}$`);
    for (const { scene, edit } of found) {
      const allowed = wordingsOf(family, scene.split === 'unseen').map(filled);
      expect(allowed.some((wording) => wording.test(edit.instruction))).toBe(true);
    }
  });

  it('are the same bytes everywhere', () => {
    const hashes = families.map((family) => `${family} ${fnv(encodeScene(sampleEdit(firstFit(family), family).scene))}`);
    expect(hashes).toEqual(goldenScenes);
  });

  it('stand on the floor, clear of others and of the cameras', () => {
    for (const family of ['add-ball', 'add-any', 'resize', 'tilt', 'turn', 'replace-round'] as const) {
      for (const { edit } of sampled(family)) {
        const object = edit.scene.objects[edit.object!];
        expect(object.position[2]).toBeCloseTo(extent(object, [0, 0, -1]), 12);
        if (family !== 'resize' || Number(edit.latent.factor) > 1) expect(isClear(edit.scene, object, edit.object)).toBe(true);
      }
    }
  });

  it('resize by 1.4 to 2.2 both ways', () => {
    const factors = sampled('resize').map(({ edit }) => Number(edit.latent.factor));
    const bigger = factors.filter((factor) => factor > 1);
    expect(bigger.length).toBeGreaterThan(5);
    for (const factor of factors) {
      const growth = Math.max(factor, 1 / factor);
      expect(growth).toBeGreaterThanOrEqual(1.4);
      expect(growth).toBeLessThanOrEqual(2.2);
    }
  });
});

describe('open families', () => {
  const counts: Partial<Record<WorldEditFamily, number>> = {
    'two-tone': 42, emblem: 8, sunset: 32, moonlight: 32, remove: 1,
  };
  it.each([...listedWorldFamilies])('%s lists different answers, each with an instruction of its own', (family) => {
    const scene = firstFit(family);
    const { answers, instruction } = openListedEdit(scene, family);
    if (counts[family]) expect(answers.length).toBe(counts[family]);
    expect(answers.length).toBeGreaterThan(0);
    expect(instruction).toBe(sampleEdit(scene, family).instruction);
    expect(new Set(answers.map((answer) => fnv(encodeScene(answer.scene)))).size).toBe(answers.length);
    expect(new Set(answers.map((answer) => answer.instruction)).size).toBe(answers.length);
    for (const answer of answers) expect(answer.instruction).not.toMatch(/[{}]|undefined/);
    const drawn = fnv(encodeScene(sampleEdit(scene, family).scene));
    expect(answers.map((answer) => fnv(encodeScene(answer.scene)))).toContain(drawn);
  });

  it('have alternatives with the same instruction', () => {
    for (const family of [...families, 'floor-any', 'sky-any', 'object-colour-any'] as const) {
      const scene = scenes.find((s) => editFits(s, family))!;
      const edits = editAlternatives(scene, family, 0, 3);
      expect(edits[0].latent).toEqual(sampleEdit(scene, family).latent);
      expect(new Set(edits.map((edit) => edit.instruction)).size).toBe(1);
      expect(new Set(edits.map((edit) => fnv(encodeScene(edit.scene)))).size).toBe(edits.length);
      if (!family.startsWith('remove')) expect(edits.length).toBeGreaterThan(1);
    }
    expect(editAlternatives(scenes[0], 'sepia', 0, 3).length).toBe(1);
  });
});

describe('pictures of edits', () => {
  const near = (scene: ProceduralScene) => scene.cameras.views.slice(3, 6);
  const before = (scene: ProceduralScene) => renderViews(scene, near(scene), size, raycast);
  const truth = (scene: ProceduralScene, edit: ProceduralEdit): EditedViews =>
    renderEdit(edit, before(scene), near(scene), size, raycast);

  it('are one scene in every view: `apply` of each view gives the same bytes', () => {
    for (const family of ['two-tone', 'tilt', 'remove', 'sunset', 'mountains'] as const) {
      const scene = firstFit(family);
      const edit = sampleEdit(scene, family);
      const { rgb } = truth(scene, edit);
      near(scene).forEach((camera, v) => {
        const view = { rgb: new Float32Array(3 * pixels), width: 64, height: 64, shade: () => new Float32Array() };
        const render = (edited: ProceduralScene) => renderViews(edited, [camera], size, raycast).rgb;
        expect(fnv(edit.apply({ ...view, render }))).toBe(fnv(rgb.slice(3 * v * pixels, 3 * (v + 1) * pixels)));
        expect(() => edit.apply(view)).toThrow(/must be ray cast again; give the view a `render`/);
      });
    }
  });

  it('change the masked pixels only: the object and its shadow', () => {
    const scene = firstFit('stripes');
    const original = before(scene);
    const { mask, ids } = truth(scene, sampleEdit(scene, 'stripes'));
    const inside = mask.filter((changed, i) => changed === 1 && ids[i] === scene.target + 2).length;
    const shown = original.ids.filter((id) => id === scene.target + 2).length;
    expect(inside / shown).toBeGreaterThan(0.95);
    expect([...changedPixels(Float32Array.from([1, 2, 3, 4, 5, 6]), Float32Array.from([1, 2, 3, 0, 5, 6]), 2)]).toEqual([0, 1]);
    const removed = truth(scene, sampleEdit(scene, 'remove'));
    expect(removed.ids.some((id) => id > scene.objects.length)).toBe(false);
    const hidden = original.ids.filter((id, i) => id === scene.target + 2 && removed.mask[i] === 0).length;
    expect(hidden / shown).toBeLessThan(0.02);
  });

  it('show a letter only where its side is seen', () => {
    const scene = firstFit('emblem');
    const cameras = scene.cameras.views;
    for (const edit of editAlternatives(scene, 'emblem', 0, 8)) {
      const { ids } = renderViews(edit.scene, cameras, size, raycast);
      const bar = edit.scene.extras![0];
      const out: Vec3 = [bar.rotation[2], bar.rotation[5], bar.rotation[8]];
      cameras.forEach((camera, v) => {
        const view = ids.subarray(v * pixels, (v + 1) * pixels);
        const facing = dot(out, sub(cameraCentre(camera), bar.position)) > 0.05;
        if (!facing) expect(view.filter((id) => id >= scene.objects.length + 2).length).toBeLessThan(12);
      });
    }
  });

  /**
   * Mean colour difference between pixels of `a` in the middle view and the points they show in the neighbouring views of
   * `b`, at pixels that show the edited object in both, by the exact depth of `a`.
   */
  function warpError(scene: ProceduralScene, edit: ProceduralEdit, a: EditedViews, b: EditedViews): number {
    const rows = near(scene).map((camera) => pixelCamera(camera, 64, 64));
    let sum = 0;
    let count = 0;
    for (let i = 0; i < pixels; i++) {
      if (a.ids[pixels + i] !== edit.object! + 2) continue;
      const point = unproject(rows[1], (i % 64) + 0.5, Math.floor(i / 64) + 0.5, a.depth[pixels + i]);
      for (const v of [0, 2]) {
        const { x, y, depth } = project(rows[v], point);
        const [left, top] = [Math.floor(x - 0.5), Math.floor(y - 0.5)];
        if (left < 0 || top < 0 || left > 62 || top > 62) continue;
        const corners = [0, 1, 64, 65].map((step) => v * pixels + top * 64 + left + step);
        if (!corners.every((k) => a.ids[k] === edit.object! + 2 && Math.abs(a.depth[k] - depth) < 0.05 * depth)) continue;
        const [fx, fy] = [x - 0.5 - left, y - 0.5 - top];
        const weights = [(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy];
        for (let c = 0; c < 3; c++) {
          const shown = corners.reduce((s, k, j) => s + weights[j] * b.rgb[k + (v * 2 + c) * pixels], 0);
          sum += Math.abs(shown - a.rgb[(3 + c) * pixels + i]);
          count++;
        }
      }
    }
    expect(count).toBeGreaterThan(100);
    return sum / count;
  }

  it('agree between views by exact depth, unlike pictures with another latent', () => {
    for (const family of ['two-tone', 'stripes', 'marble', 'turn', 'resize'] as const) {
      const scene = firstFit(family);
      const [one, other] = editAlternatives(scene, family, 0, 2);
      const [a, b] = [truth(scene, one), truth(scene, other)];
      const same = warpError(scene, one, a, a);
      expect(same).toBeLessThan(0.06);
      if (family !== 'resize' && family !== 'turn') expect(warpError(scene, one, a, b)).toBeGreaterThan(2.5 * same);
    }
  });
});

describe('solids', () => {
  it('have normals that match the rendered surface by finite differences of depth', () => {
    const scene = scenes[0];
    const camera = scene.cameras.views[4];
    const base = { ...scene.objects[0], position: [0, 0, 0.7] as Vec3, colour: 'red' as const };
    const dimensions: Record<SceneObject['shape'], Vec3> = {
      sphere: [0.5, 1, 1], box: [0.4, 0.5, 0.3], cylinder: [0.4, 0.5, 1], cone: [0.5, 0.6, 1], torus: [0.5, 0.2, 1], capsule: [0.3, 0.3, 1],
    };
    const view = { width: 128, height: 128, spp: 1 };
    const row = pixelCamera(camera, 128, 128);
    for (const shape of Object.keys(dimensions) as SceneObject['shape'][]) {
      const object = { ...base, shape, dimensions: dimensions[shape] };
      const { ids, depth } = renderViews({ ...scene, objects: [object] }, [camera], view, raycast);
      const at = (i: number): Vec3 => unproject(row, (i % 128) + 0.5, Math.floor(i / 128) + 0.5, depth[i]);
      const angles: number[] = [];
      for (let i = 129; i < 127 * 128; i++) {
        if (![i, i + 1, i - 1, i + 128, i - 128].every((k) => ids[k] === 2)) continue;
        const [u, v] = [sub(at(i + 1), at(i - 1)), sub(at(i + 128), at(i - 128))];
        const n: Vec3 = [v[1] * u[2] - v[2] * u[1], v[2] * u[0] - v[0] * u[2], v[0] * u[1] - v[1] * u[0]];
        angles.push(dot(n, normalAt(object, at(i))) / Math.sqrt(dot(n, n)));
      }
      expect(angles.length).toBeGreaterThan(60);
      const good = angles.filter((cosine) => cosine > 0.99).length;
      expect(good / angles.length).toBeGreaterThan(0.85); // the rest lie across an edge
    }
  });
});

const goldenScenes = [
  'two-tone e7b0557b', 'stripes f576c597', 'dots 242cc784', 'marble 56b31c9e',
  'emblem 363064ae', 'add-ball b9b9331f', 'add-any a0a43d4f', 'resize ea3e3481',
  'turn 1516b65a', 'tilt 824678d3', 'replace-round 12c8b9af', 'remove 7b9b12e6',
  'remove-and-paint 6c4a6012', 'sunset e2174335', 'moonlight 885494d8', 'mountains 83eac9f4',
  'paint-at-sunset c20f8823',
];
