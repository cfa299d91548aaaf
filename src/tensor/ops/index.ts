export * from './conv';
export * from './elem';
export * from './geom';
export * from './nn';
export * from './splat';
export * from './train';
