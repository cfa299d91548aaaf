export * from './log-prob';
export * from './samplers';
export * from './schedule';
