/** Names of the procedural world that settings may use (without loading the world). */
export const openFamilyNames = ['floor-any', 'object-colour-any', 'sky-any'] as const;
export const worldSplits = ['train', 'val', 'test', 'unseen'] as const;
