/** Extents, normals and clearances of the solids of a scene, in closed form: what geometry edits and ground-truth splats need. */
import { cameraCentre } from './cameras';
import { cos, dot, rad, sin, sub, unit, type Vec3 } from './math';
import type { ProceduralScene, SceneObject, ShapeName } from './world';

export type Matrix3 = readonly number[];

/** Row-major 3x3 product a b. */
export function multiply(a: Matrix3, b: Matrix3): number[] {
  return [0, 1, 2].flatMap((i) =>
    [0, 1, 2].map((j) => a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j]),
  );
}

/** Rotation by `angle` about a unit axis (Rodrigues). */
export function rotationAbout(axis: Vec3, angle: number): number[] {
  const [x, y, z] = axis;
  const [c, s] = [cos(angle), sin(angle)];
  const k = 1 - c;
  return [
    c + k * x * x, k * x * y - s * z, k * x * z + s * y,
    k * x * y + s * z, c + k * y * y, k * y * z - s * x,
    k * x * z - s * y, k * y * z + s * x, c + k * z * z,
  ];
}

/** R v, v from object to world axes. */
export function toWorld(r: Matrix3, v: Vec3): Vec3 {
  return [
    r[0] * v[0] + r[1] * v[1] + r[2] * v[2],
    r[3] * v[0] + r[4] * v[1] + r[5] * v[2],
    r[6] * v[0] + r[7] * v[1] + r[8] * v[2],
  ];
}

/** R^T v, v from world to object axes. */
export function toObject(r: Matrix3, v: Vec3): Vec3 {
  return [
    r[0] * v[0] + r[3] * v[1] + r[6] * v[2],
    r[1] * v[0] + r[4] * v[1] + r[7] * v[2],
    r[2] * v[0] + r[5] * v[1] + r[8] * v[2],
  ];
}

type Posed = Pick<SceneObject, 'shape' | 'position' | 'rotation' | 'dimensions'>;

/** Support function: how far a solid extends from its centre along a unit world direction, metres. */
export function extent(object: Pick<Posed, 'shape' | 'rotation' | 'dimensions'>, direction: Vec3): number {
  const [x, y, z] = toObject(object.rotation, direction);
  const across = Math.sqrt(x * x + y * y);
  const [a, b, c] = object.dimensions;
  switch (object.shape) {
    case 'sphere':
      return a;
    case 'box':
      return a * Math.abs(x) + b * Math.abs(y) + c * Math.abs(z);
    case 'cylinder':
      return a * across + b * Math.abs(z);
    case 'cone':
      return Math.max(b * z, a * across - b * z);
    case 'torus':
      return a * across + b;
    case 'capsule':
      return a + b * Math.abs(z);
  }
}

/** The solid set down on the floor: its lowest point at z = 0. */
export function onFloor<T extends Posed>(object: T): T {
  return { ...object, position: [object.position[0], object.position[1], extent(object, [0, 0, -1])] };
}

/** Radius of the vertical cylinder about the centre that holds the solid, metres (64 directions: short by up to 0.5 %). */
export function reach(object: Posed): number {
  let most = 0;
  for (let i = 0; i < 64; i++) {
    const azimuth = rad(i * 5.625);
    most = Math.max(most, extent(object, [cos(azimuth), sin(azimuth), 0]));
  }
  return most;
}

const objectGap = 0.04;
const cameraGap = 0.7;

/** Whether a solid keeps 4 cm from every other object (index `self` aside) and 70 cm from every camera. */
export function isClear(scene: ProceduralScene, object: Posed, self?: number): boolean {
  const own = reach(object);
  const apart = scene.objects.every((other, i) => {
    if (i === self) return true;
    const [dx, dy] = [other.position[0] - object.position[0], other.position[1] - object.position[1]];
    const gap = own + reach(other) + objectGap;
    return dx * dx + dy * dy > gap * gap;
  });
  return apart && [...scene.cameras.views, ...scene.cameras.heldOut].every((camera) => {
    const to = sub(cameraCentre(camera), object.position);
    const distance = Math.sqrt(dot(to, to));
    return distance - Math.max(own, extent(object, unit(to))) > cameraGap;
  });
}

/** The size s from which the dimensions of a shape are made (see `formOf` of world.ts). */
export function overallRadius(object: Pick<SceneObject, 'shape' | 'dimensions'>): number {
  const share: Readonly<Record<ShapeName, number>> = {
    sphere: 1, box: 0.8, cylinder: 0.64, cone: 0.86, torus: 0.7, capsule: 0.5,
  };
  return object.dimensions[0] / share[object.shape];
}

/** Object axis (0 x, 1 y, 2 z) that points up or down most nearly. */
export function upAxis(object: Pick<SceneObject, 'rotation'>): number {
  const up = [6, 7, 8].map((k) => Math.abs(object.rotation[k]));
  return up.indexOf(Math.max(...up));
}

/** Whether the object's own z axis is level (rings on edge, pills on their side). */
export const isLying = (object: Pick<SceneObject, 'rotation'>): boolean => upAxis(object) !== 2;

/** Outward unit normal in world axes of a solid at a world point of its surface. */
export function normalAt(object: Posed, point: Vec3): Vec3 {
  const [x, y, z] = toObject(object.rotation, sub(point, object.position));
  const [a, b] = object.dimensions;
  const across = Math.sqrt(x * x + y * y);
  const world = (v: Vec3): Vec3 => unit(toWorld(object.rotation, v));
  switch (object.shape) {
    case 'sphere':
      return world([x, y, z]);
    case 'box': {
      const q = [x, y, z].map((value, k) => value / object.dimensions[k]);
      const face = [0, 1, 2].reduce((best, k) => (Math.abs(q[k]) > Math.abs(q[best]) ? k : best), 0);
      const normal = [0, 0, 0];
      normal[face] = q[face] < 0 ? -1 : 1;
      return world([normal[0], normal[1], normal[2]]);
    }
    case 'cylinder':
      return b - Math.abs(z) < a - across ? world([0, 0, z < 0 ? -1 : 1]) : world([x, y, 0]);
    case 'cone': {
      // Distances to the base plane and to the slanted side, whose normal is (2 b, a) / norm in (across, z).
      const norm = Math.sqrt(4 * b * b + a * a);
      const side = ((b - z) * a - 2 * b * across) / norm;
      if (z + b < side) return world([0, 0, -1]);
      return across === 0 ? world([0, 0, 1]) : world([(x / across) * 2 * b, (y / across) * 2 * b, a]);
    }
    case 'torus':
      return world([x - (a * x) / across, y - (a * y) / across, z]);
    case 'capsule':
      return world([x, y, z - Math.max(-b, Math.min(b, z))]);
  }
}
