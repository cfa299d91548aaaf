/** Procedural multi-view scenes with exact truth: training data, tests and the demo need no downloads. */
export { quaternionOf } from '../quaternion';
export * from './cameras';
export * from './edit-filters';
export { listedWorldFamilies, worldEditFamilies, type WorldEditFamily } from './edit-sampling';
export * from './edit-render';
export * from './edits';
export * from './measures';
export { extent, isClear, normalAt, overallRadius, reach } from './object-geometry';
export * from './palette';
export * from './render';
export { hash, Rng } from './rng';
export * from './splits';
export * from './surface-samples';
export * from './world';
export * from './write';
export * from './write-colmap';
export * from './write-edits';
export * from './write-splat';
