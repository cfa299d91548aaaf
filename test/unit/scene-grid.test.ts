import { ConfigError, ShapeError } from '../../src/binding/errors';
import { composeGrid, kontextBucket, planGrid, splitGrid } from '../../src/scene/grid';
import { fromBytes, Image } from '../../src/scene/image';
import { gridPrompt, maxPromptLength, normalizePrompt } from '../../src/scene/prompt';
import { patternBytes } from '../scene-fixtures';

const views = (count: number, width: number, height: number): Image[] =>
  Array.from({ length: count }, (_, i) => fromBytes(patternBytes(width, height, i), width, height, 3));

describe('grid plan', () => {
  test.each([
    [{ viewAspect: 1 }, 336, 336],
    [{ viewAspect: 4 / 3 }, 384, 288],
    [{ viewAspect: 3 / 4 }, 288, 384],
    [{ viewAspect: 1, resolution: 528 }, 176, 176],
    [{ viewAspect: 1, resolution: 576 }, 192, 192],
    [{ viewAspect: 1, cellLongSide: 96 }, 96, 96],
    [{ viewAspect: 16 / 9, cellLongSide: 96 }, 96, 48],
    [{ viewAspect: 9 / 16, cellLongSide: 96 }, 48, 96],
    [{ viewAspect: 1, cellLongSide: 64, tokenPx: 8, rows: 2, cols: 4 }, 64, 64],
  ])('%j', (options, cellWidth, cellHeight) => {
    const plan = planGrid(options);
    expect([plan.cellWidth, plan.cellHeight]).toEqual([cellWidth, cellHeight]);
    expect([plan.width, plan.height]).toEqual([plan.cols * cellWidth, plan.rows * cellHeight]);
  });

  test('cells are whole tokens, within the pixel budget and near the aspect, for any aspect', () => {
    for (let aspect = 0.3; aspect < 3.4; aspect *= 1.07) {
      const plan = planGrid({ viewAspect: aspect });
      expect([plan.cellWidth % 16, plan.cellHeight % 16]).toEqual([0, 0]);
      expect(plan.width * plan.height).toBeLessThanOrEqual(1024 * 1024);
      expect(plan.width * plan.height).toBeGreaterThan(0.8 * 1024 * 1024);
      expect(Math.abs(Math.log(plan.cellWidth / plan.cellHeight / aspect))).toBeLessThan(0.04);
    }
  });

  test('Kontext buckets: nearest aspect, multiples of 16, near one megapixel', () => {
    expect(kontextBucket(1)).toEqual([1024, 1024]);
    expect(kontextBucket(4 / 3)).toEqual([1184, 880]);
    expect(kontextBucket(0.1)).toEqual([672, 1568]);
    expect(kontextBucket(100)).toEqual([1568, 672]);
    const plan = planGrid({ viewAspect: 1, layout: 'kontext-bucket' });
    expect([plan.width, plan.cellWidth]).toEqual([1024, 341]);
  });

  test.each([
    { viewAspect: 0 }, { viewAspect: NaN }, { viewAspect: 1, rows: 0 }, { viewAspect: 1, cols: 1.5 },
    { viewAspect: 1, cellLongSide: 100 }, { viewAspect: 1, cellLongSide: 0 }, { viewAspect: 1, cellLongSide: NaN },
    { viewAspect: 1, resolution: 10 }, { viewAspect: 1, resolution: NaN }, { viewAspect: 1, resolution: 1e6 },
    { viewAspect: 1, cellLongSide: 96, resolution: 512 },
    { viewAspect: 1, resolution: 512, layout: 'kontext-bucket' as const },
  ])('refuses %j', (options) => {
    expect(() => planGrid(options)).toThrow(ConfigError);
  });
});

describe('grid of images', () => {
  const plan = planGrid({ viewAspect: 4 / 3, cellLongSide: 64 });

  test('row-major, and the split returns the very bits', () => {
    const images = views(9, plan.cellWidth, plan.cellHeight);
    const grid = composeGrid(images, plan);
    expect([grid.width, grid.height]).toEqual([192, 144]);
    // View 5 stands in row 1, column 2.
    expect(grid.data[48 * 192 + 128]).toBe(images[5].data[0]);
    splitGrid(grid, plan).forEach((image, i) => expect(image).toEqual(images[i]));
  });

  test('rows and columns are not mixed up when they differ', () => {
    const wide = planGrid({ viewAspect: 1, cellLongSide: 16, rows: 2, cols: 3 });
    const images = views(6, 16, 16);
    splitGrid(composeGrid(images, wide), wide).forEach((image, i) => expect(image).toEqual(images[i]));
  });

  test('the bucket layout resizes the whole and drops the rest beyond the last cell', () => {
    const bucket = planGrid({ viewAspect: 1, layout: 'kontext-bucket' });
    const grid = composeGrid(views(9, 60, 60), bucket);
    expect([grid.width, grid.height]).toEqual([1024, 1024]);
    const cells = splitGrid(grid, bucket);
    expect(cells.every((c) => c.width === 341 && c.height === 341)).toBe(true);
    expect(cells[4].data[0]).toBe(grid.data[341 * 1024 + 341]);
  });

  test('wrong counts and sizes are refused', () => {
    expect(() => composeGrid(views(8, 64, 48), plan)).toThrow(/expected 9 images for 3x3, got 8/);
    expect(() => composeGrid([...views(8, 64, 48), ...views(1, 48, 64)], plan)).toThrow(
      /image 8 is 48x64, expected 64x48/,
    );
    expect(() => splitGrid(views(1, 64, 48)[0], plan)).toThrow(ShapeError);
  });
});

describe('prompt', () => {
  test('white space is folded, control and format characters go, accents are composed', () => {
    expect(normalizePrompt('  make \t the\nbear\u0000 blue\u200b\u202e \ud800')).toBe('make the bear blue');
    expect(normalizePrompt('cafe\u0301 in 東京 🐻')).toBe('caf\u00e9 in 東京 🐻');
  });

  test.each(['', '   ', '\n\t', '\u0000\u200b', '\u3000'])('empty prompt %j is refused', (text) => {
    expect(() => normalizePrompt(text)).toThrow(ConfigError);
    expect(() => gridPrompt(text)).toThrow(/empty/);
  });

  test('length limit', () => {
    expect(normalizePrompt('a'.repeat(maxPromptLength))).toHaveLength(maxPromptLength);
    expect(() => normalizePrompt('a'.repeat(maxPromptLength + 1))).toThrow(/1501 characters is over the limit of 1500/);
  });

  test('the grid instruction begins with the edit and names grid, agreement and preservation', () => {
    const prompt = gridPrompt('turn the photo into sepia.');
    expect(prompt).toMatch(/^turn the photo into sepia\. The picture is a 3x3 grid of 9 photographs/);
    expect(prompt).toMatch(/same position, orientation, size/);
    expect(prompt).toMatch(/everything else as they are\.$/);
    expect(gridPrompt('turn the photo into sepia')).toBe(prompt);
    expect(gridPrompt('really?', 2, 4)).toMatch(/^really\? The picture is a 2x4 grid of 8/);
    expect(() => gridPrompt('...')).toThrow(ConfigError);
  });
});
