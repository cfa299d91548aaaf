/** Gaussian splats: host form and files, rendering with gradients, fitting to pictures, refitting to edited ones. */
export * from './arc';
export * from './cloud';
export * from './edit-mask';
export * from './evaluate';
export * from './fit';
export * from './formats';
export * from './gaussians';
export * from './initialise';
export * from './rasterize';
export * from './recipe';
export * from './refit';
export * from './seeds';
export * from './transform';
