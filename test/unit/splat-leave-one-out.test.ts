/** Which views are left out of a refit, and how long a fit their curves ask for. */
import { bestCheckpoint, leftOut } from '../../src/scene/gaussians/leave-one-out';

test('views left out are spread over those that show the edit', () => {
  expect(leftOut(Array<boolean>(9).fill(true), 3)).toEqual([1, 4, 7]);
  expect(leftOut([false, true, true, false, true, true], 2)).toEqual([2, 5]);
  expect(leftOut([true, true, true], 5)).toEqual([0, 1, 2]);
  // The others would be too few to learn from.
  expect(leftOut([true, true, false], 2)).toEqual([]);
  expect(leftOut([true, true, true], 0)).toEqual([]);
});

describe('the best checkpoint', () => {
  const curves = [
    [20, 26, 30.0, 29.2, 28],
    [20, 25, 29.0, 29.2, 27],
    [20, 27, 31.0, 30.5, 28],
  ];

  test('is the highest mean', () => {
    expect(bestCheckpoint(curves, 0)).toBe(2);
    expect(bestCheckpoint([[3, 2, 1]], 1)).toBe(0);
  });

  test('or a later one that is as good but for the chance of few views', () => {
    // Worse by 0.8, -0.2 and 0.5: 0.37 in the mean, of which the standard error is 0.30.
    expect(bestCheckpoint(curves, 1)).toBe(2);
    expect(bestCheckpoint(curves, 1.3)).toBe(3);
    // Worse by 2, 2 and 3: none of that is chance.
    expect(bestCheckpoint(curves, 3)).toBe(3);
  });

  test('of equals is the last where late ones are wanted', () => {
    expect(bestCheckpoint([[1, 5, 5]], 0)).toBe(2);
    expect(bestCheckpoint([[1, Infinity, 5]], 1)).toBe(1);
  });
});
