import {
  Camera, composeGrid, LoadedView, loadScene, loadView, planGrid, project, resizeImage, Scene, selectViews, splitGrid,
} from '../../src/scene';
import { cameraArc } from '../../src/scene/arc';
import { describeWithScene } from '../scenes';

interface Expected {
  views: number;
  /** Degrees between the ends of the chosen arc. */
  span: [number, number];
  /**
   * Ratio of the mean colour error at the points' projections to that with the colours shuffled, as measured x 1.05; a
   * shift of three pixels raises it by 0.1 to 0.15.
   */
  colorRatio: number;
}

const expected: Record<string, Expected> = {
  face: { views: 65, span: [60, 90], colorRatio: 0.544 },
  bear: { views: 96, span: [280, 330], colorRatio: 0.57 },
  stone_horse: { views: 81, span: [220, 290], colorRatio: 0.712 },
};

/**
 * Mean absolute colour error of the sparse points against the picture, with the points' own colours or shifted by half
 * the list.
 */
async function colorError(scene: Scene, index: number, shift: number): Promise<{ error: number; inside: number }> {
  const { image, camera } = await loadView(scene.views[index]);
  const { count, positions, colors } = scene.points!;
  let [sum, inside] = [0, 0];
  for (let i = 0; i < count; i++) {
    const { u, v, z } = project(camera, [positions[3 * i], positions[3 * i + 1], positions[3 * i + 2]]);
    if (!(z > 0 && u >= 0 && v >= 0 && u < camera.width && v < camera.height)) continue;
    inside++;
    const o = 3 * ((i + shift) % count);
    for (let c = 0; c < 3; c++) {
      const at = (c * camera.height + Math.floor(v)) * camera.width + Math.floor(u);
      sum += Math.abs(image.data[at] - colors![o + c] / 255) / 3;
    }
  }
  return { error: sum / inside, inside };
}

for (const name of Object.keys(expected)) {
  describeWithScene(name, (path) => {
    const want = expected[name];
    let scene: Scene;
    beforeAll(async () => {
      scene = await loadScene(path);
    });

    test('loads views, cameras and points', () => {
      expect(scene.views).toHaveLength(want.views);
      expect(scene.views[0].name).toBe('frame_00001');
      expect(scene.points!.count).toBeGreaterThan(5000);
      expect(scene.warnings).toEqual([]);
      for (const { camera, photograph } of scene.views) {
        expect(camera.fx / photograph!.camera.fx).toBeLessThan(1.01);
        expect(camera.width).toBe(512);
      }
    });

    test('sparse points project onto pixels of their own colour', async () => {
      const ratios: number[] = [];
      for (const index of [5, 25, 45, 60]) {
        const { error, inside } = await colorError(scene, index, 0);
        const shuffled = await colorError(scene, index, scene.points!.count >> 1);
        expect(inside).toBeGreaterThan(300);
        ratios.push(error / shuffled.error);
      }
      expect(ratios.reduce((a, b) => a + b) / ratios.length).toBeLessThan(want.colorRatio);
    });

    test('nine views stand evenly on the arc, overlap and look at the object', () => {
      const selection = selectViews(scene);
      expect(new Set(selection.indices).size).toBe(9);
      expect(selection.warnings).toEqual([]);
      const cameras = scene.views.map((v) => v.camera);
      const arc = cameraArc(cameras, scene.points);
      const at = selection.indices.map((i) => arc.positionsDeg[arc.order.indexOf(i)]);
      const span = at[8] - at[0];
      expect(span).toBeGreaterThan(want.span[0]);
      expect(span).toBeLessThan(want.span[1]);
      at.slice(1).forEach((a, k) => expect(Math.abs((a - at[k]) / (span / 8) - 1)).toBeLessThan(0.45));
      selection.neighbours.forEach((n) => {
        expect(n.angleDeg).toBeLessThan(50);
        expect(n.sharedPoints).toBeGreaterThan(0.72);
      });
      selection.views.forEach(({ camera }: { camera: Camera }) => {
        const { u, v } = project(camera, arc.lookAt);
        expect(u > 0 && v > 0 && u < camera.width && v < camera.height).toBe(true);
      });
    });

    test('the grid of nine loads at cell size and splits exactly', async () => {
      const plan = planGrid({ viewAspect: 1, cellLongSide: 96 });
      const { views } = selectViews(scene);
      const loaded: LoadedView[] = [];
      for (const view of views) loaded.push(await loadView(view, { width: plan.cellWidth, height: plan.cellHeight }));
      const grid = composeGrid(loaded.map((l) => l.image), plan);
      splitGrid(grid, plan).forEach((image, i) => expect(image).toEqual(loaded[i].image));
      expect(loaded[0].camera.width).toBe(96);
      // A picture, not a flat field: the scene's contrast survives.
      const small = resizeImage(grid, 9, 9, 'box').data;
      expect(Math.max(...small) - Math.min(...small)).toBeGreaterThan(0.2);
    });
  });
}
