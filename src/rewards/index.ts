export * from './confidence';
export * from './pose';
