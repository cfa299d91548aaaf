import { GroupWindow } from '../../src/app/pretrain/group-window';
import type { EditGroup } from '../../src/app/pretrain/edit-data';
import { Rng } from '../../src/scene/procedural';

/** A window that records which scenes it had made. */
function recorded(size: number, fresh: number): { window: GroupWindow; made: number[] } {
  const made: number[] = [];
  const make = (index: number): Promise<EditGroup> => {
    made.push(index);
    return Promise.resolve({ before: Float32Array.of(index), edits: [], open: [] });
  };
  return { window: new GroupWindow(make, size, fresh), made };
}

const drawn = async (window: GroupWindow, step: number): Promise<number> => (await window.pick(new Rng(1, step), step)).before[0];

it('draws from the scenes of the step and makes each once', async () => {
  const { window, made } = recorded(8, 0.5);
  for (let step = 0; step < 200; step++) {
    const index = await drawn(window, step);
    expect(index).toBeGreaterThanOrEqual(Math.floor(step / 2));
    expect(index).toBeLessThan(Math.floor(step / 2) + 8);
  }
  expect(new Set(made).size).toBe(made.length);
  expect(Math.max(...made)).toBeGreaterThan(90);
});

it('shows a resumed run the same scenes', async () => {
  const whole = recorded(8, 0.5).window;
  const indices = [];
  for (let step = 0; step < 60; step++) indices.push(await drawn(whole, step));
  const resumed = recorded(8, 0.5).window;
  for (let step = 40; step < 60; step++) expect(await drawn(resumed, step)).toBe(indices[step]);
});

it('stays with its scenes without fresh ones', async () => {
  const { window, made } = recorded(3, 0);
  for (let step = 0; step < 50; step++) await drawn(window, step);
  expect(made.sort()).toEqual([0, 1, 2]);
});
