export * from './checkpoint';
export * from './config';
export * from './pose-encoding';
export * from './preprocess';
export { Vggt } from './vggt';
export type { VggtOutput } from './vggt';
