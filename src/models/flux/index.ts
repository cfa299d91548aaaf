export * from './checkpoint';
export * from './config';
export * from './kontext';
export { positionIds, textIds } from './math';
export type { PositionIds, TimestepRounding } from './math';
export * from './packing';
export * from './transformer';
