/** True measures of multi-view edits in procedural scenes: exact answers, exact depth and cameras, no learned judge. */
export * from './measure-set';
export * from './mixed';
export * from './pictures';
export { AnswerCounts, mutualInformationBits, normalisedEntropy, PairCounts } from './statistics';
export * from './truth';
export * from './warp';
