/** Procedural multi-view scenes with exact truth: training data, tests and the demo need no downloads. */
export * from './cameras';
export * from './edit-filters';
export * from './edits';
export * from './palette';
export * from './render';
export { hash, Rng } from './rng';
export * from './splits';
export * from './world';
export * from './write';
