/** Edits of light and background: sunset, moonlight, mountains. */
import { type DrawnFamily, type FamilyRules, freeColours, type ListedFamily, withObject } from './edit-family';
import { cos, rad, scale, sin, type Vec3 } from './math';
import { skies, type SkyColours } from './palette';
import type { Rng } from './rng';
import { yawMatrix, type ProceduralScene, type Solid } from './world';

interface LightMood {
  readonly elevationDeg: number;
  readonly power: number;
  readonly ambient: Vec3;
  readonly tints: Readonly<Record<string, Vec3>>;
  readonly tones: SkyColours;
}

const sunset: LightMood = {
  elevationDeg: 20,
  power: 0.85,
  ambient: [0.38, 0.31, 0.36],
  tints: { orange: [0.98, 0.56, 0.26], red: [0.95, 0.36, 0.28], gold: [0.98, 0.8, 0.36], pink: [0.96, 0.5, 0.6] },
  tones: skies.sunset,
};

const moonlight: LightMood = {
  elevationDeg: 40,
  power: 0.34,
  ambient: [0.1, 0.12, 0.2],
  tints: { blue: [0.42, 0.58, 1], silver: [0.85, 0.88, 0.95], violet: [0.72, 0.5, 1], green: [0.5, 0.9, 0.72] },
  tones: { horizon: [0.12, 0.15, 0.26], zenith: [0.02, 0.03, 0.1], cloud: [0.17, 0.19, 0.28] },
};

/** The scene under a light of the mood from one of eight azimuths; shadows move with it. */
function lit(scene: ProceduralScene, mood: LightMood, degrees: number, tint: string): ProceduralScene {
  const [azimuth, elevation] = [rad(degrees), rad(mood.elevationDeg)];
  const direction: Vec3 = [cos(elevation) * cos(azimuth), cos(elevation) * sin(azimuth), sin(elevation)];
  return {
    ...scene,
    light: { direction, colour: scale(mood.tints[tint], mood.power), ambient: mood.ambient },
    sky: { ...scene.sky, tones: mood.tones },
  };
}

const azimuths = [0, 45, 90, 135, 180, 225, 270, 315] as const;

function lightFamily(mood: LightMood, wordings: readonly string[], named: readonly string[]): ListedFamily {
  return {
    wordings,
    named,
    answers: (scene) =>
      azimuths.flatMap((degrees) =>
        Object.keys(mood.tints).map((tint) => ({
          latent: { azimuth: degrees, tint },
          words: { degrees: String(degrees), tint },
          scene: lit(scene, mood, degrees, tint),
        })),
      ),
  };
}

/** A composition: the target painted a named colour, under a sunset that is left open. */
const paintAtSunset: DrawnFamily = {
  wordings: [
    'paint the {object} {colour} and make it sunset', 'make it sunset and the {object} {colour}',
    'turn the {object} {colour} in the evening sun', 'show a sunset and colour the {object} {colour}',
    'the {object} should be {colour} and the sun low', 'let the sun set and paint the {object} {colour}',
    'a {colour} coat for the {object}, at sunset',
  ],
  say: (rng, scene) => {
    const { shape, colour } = scene.objects[scene.target];
    const free = freeColours(scene, shape, scene.target).filter((name) => name !== colour);
    return free.length > 0 ? { colour: rng.pick(free) } : undefined;
  },
  draw: (rng, scene, words) => {
    const azimuth = rng.pick(azimuths);
    const tint = rng.pick(Object.keys(sunset.tints));
    const { shape } = scene.objects[scene.target];
    const colour = freeColours(scene, shape, scene.target).find((name) => name === words.colour);
    if (!colour) return undefined;
    const painted = withObject(scene, scene.target, { colour });
    return { latent: { azimuth, tint }, scene: lit(painted, sunset, azimuth, tint), object: scene.target };
  },
};

const mountainCount = 18;
const mountainDistance = 12;
const rock: readonly [Vec3, Vec3] = [[0.46, 0.47, 0.52], [0.3, 0.33, 0.36]];
const snow: readonly [Vec3, Vec3] = [[0.95, 0.96, 0.99], [0.84, 0.87, 0.92]];

/**
 * Cones in a ring about the floor's edge, sunk 3 m so that no gap shows between them and the floor, each with a snowy
 * tip. They stand at a finite distance: their depth is exact like every other.
 */
function mountains(rng: Rng): Solid[] {
  const yaw = rng.range(0, 360 / mountainCount);
  return Array.from({ length: mountainCount }, (_, i) => {
    const azimuth = rad(yaw + ((i + rng.range(-0.35, 0.35)) * 360) / mountainCount);
    const peak = rng.range(1.9, 4.6);
    const base = rng.range(2.6, 3.4);
    const half = (peak + 3) / 2;
    const texture = { name: 'noise', axis: 2, period: 1.3, phase: 0, seed: rng.int(1 << 24) } as const;
    const cone = (share: number, grow: number, paint: readonly [Vec3, Vec3]): Solid => ({
      shape: 'cone',
      position: [mountainDistance * cos(azimuth), mountainDistance * sin(azimuth), peak + grow - half * share],
      rotation: yawMatrix(azimuth),
      dimensions: [base * share, half * share, 1],
      texture,
      paint,
    });
    // The tip is the cone's own top third, raised by a hair to lie over it.
    return [cone(1, 0, rock), cone(0.3, 0.02, snow)];
  }).flat();
}

/** Views that look above the floor's far edge in the upper middle of their picture. */
function horizonViews(scene: ProceduralScene): number {
  return scene.cameras.views.filter(({ fy, cy, worldToCam: m }) => m[10] - (m[6] * cy) / fy > -0.12).length;
}

const background: DrawnFamily = {
  wordings: [
    'put mountains behind', 'add mountains in the background', 'let there be mountains on the horizon',
    'place the scene in front of mountains', 'show a mountain range behind the objects', 'set it against mountains',
    'raise mountains in the distance',
  ],
  draw: (rng, scene) => {
    const seed = rng.int(1 << 24);
    if (horizonViews(scene) * 3 < scene.cameras.views.length * 2) return undefined;
    return { latent: { seed }, scene: { ...scene, extras: [...(scene.extras ?? []), ...mountains(rng)] } };
  },
};

export const lightFamilies = {
  sunset: lightFamily(
    sunset,
    ['make it sunset', 'show the scene at sunset', 'let the sun set', 'light it by the evening sun', 'change the light to sunset',
      'bring the sun down to the horizon', 'as if the sun was about to set'],
    ['make it a {tint} sunset with the sun at {degrees} degrees', 'light it by a low {tint} sun from {degrees} degrees',
      'a {tint} evening sun at {degrees} degrees', 'let a {tint} sun set at {degrees} degrees'],
  ),
  moonlight: lightFamily(
    moonlight,
    ['light it by the moon', 'make it a moonlit night', 'show it in moonlight', 'let the moon shine on the scene',
      'change the light to moonlight', 'replace the sun by the moon', 'as seen under the moon'],
    ['light it by a {tint} moon from {degrees} degrees', 'make it a night with a {tint} moon at {degrees} degrees',
      'a {tint} moon at {degrees} degrees', 'let a {tint} moon shine from {degrees} degrees'],
  ),
  mountains: background,
  'paint-at-sunset': paintAtSunset,
} satisfies Record<string, FamilyRules>;
