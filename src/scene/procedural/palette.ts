/** Named colours of the procedural world, in display values [0, 1]. */
import type { Vec3 } from './math';

export const colourNames = ['red', 'orange', 'yellow', 'green', 'teal', 'blue', 'purple', 'pink'] as const;
export type ColourName = (typeof colourNames)[number];

export const colours: Readonly<Record<ColourName, Vec3>> = {
  red: [0.86, 0.1, 0.1],
  orange: [0.98, 0.5, 0.05],
  yellow: [0.98, 0.85, 0.1],
  green: [0.18, 0.7, 0.2],
  teal: [0.05, 0.66, 0.64],
  blue: [0.12, 0.28, 0.86],
  purple: [0.5, 0.16, 0.72],
  pink: [0.98, 0.5, 0.7],
};

export const floorNames = ['sand', 'slate', 'grass', 'wood', 'snow', 'clay', 'water', 'plum'] as const;
export type FloorName = (typeof floorNames)[number];

/** Main and second colour of a floor. */
export const floors: Readonly<Record<FloorName, readonly [Vec3, Vec3]>> = {
  sand: [[0.86, 0.76, 0.56], [0.68, 0.55, 0.36]],
  slate: [[0.52, 0.55, 0.6], [0.3, 0.33, 0.38]],
  grass: [[0.42, 0.62, 0.28], [0.24, 0.44, 0.18]],
  wood: [[0.66, 0.44, 0.26], [0.44, 0.27, 0.15]],
  snow: [[0.93, 0.94, 0.97], [0.72, 0.77, 0.84]],
  clay: [[0.76, 0.45, 0.34], [0.55, 0.29, 0.22]],
  water: [[0.36, 0.6, 0.78], [0.2, 0.4, 0.62]],
  plum: [[0.58, 0.44, 0.62], [0.38, 0.26, 0.44]],
};

export const skyNames = ['clear', 'sunset', 'overcast', 'dawn', 'stormy', 'golden'] as const;
export type SkyName = (typeof skyNames)[number];

export interface SkyColours {
  readonly horizon: Vec3;
  readonly zenith: Vec3;
  readonly cloud: Vec3;
}

export const skies: Readonly<Record<SkyName, SkyColours>> = {
  clear: { horizon: [0.78, 0.89, 0.98], zenith: [0.22, 0.48, 0.88], cloud: [1, 1, 1] },
  sunset: { horizon: [0.99, 0.62, 0.34], zenith: [0.42, 0.24, 0.52], cloud: [0.99, 0.78, 0.62] },
  overcast: { horizon: [0.84, 0.85, 0.86], zenith: [0.58, 0.61, 0.65], cloud: [0.93, 0.93, 0.94] },
  dawn: { horizon: [0.98, 0.8, 0.82], zenith: [0.5, 0.56, 0.85], cloud: [1, 0.92, 0.88] },
  stormy: { horizon: [0.5, 0.55, 0.6], zenith: [0.2, 0.23, 0.3], cloud: [0.36, 0.39, 0.44] },
  golden: { horizon: [0.99, 0.88, 0.55], zenith: [0.72, 0.68, 0.52], cloud: [1, 0.95, 0.8] },
};

/** How each sky is spoken of after "make the sky ..." or "a ... sky". */
export const skyWords: Readonly<Record<SkyName, string>> = {
  clear: 'clear blue',
  sunset: 'sunset red',
  overcast: 'cloudy grey',
  dawn: 'pink',
  stormy: 'dark stormy',
  golden: 'golden',
};
