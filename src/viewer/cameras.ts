/** Cameras of the viewer: OpenCV pinholes as three.js cameras, and a first look at a scene without any. */
import { Box3, Matrix4, PerspectiveCamera, Vector3 } from 'three';
import type { ViewerCamera } from '../report/viewer-data';

/** OpenCV looks along +z with y down, three.js along −z with y up. */
const openCvToThree = new Matrix4().makeScale(1, -1, -1);

function worldToCam({ worldToCam: m }: ViewerCamera): Matrix4 {
  return new Matrix4().set(
    m[0], m[1], m[2], m[3],
    m[4], m[5], m[6], m[7],
    m[8], m[9], m[10], m[11],
    0, 0, 0, 1,
  );
}

/** Puts `camera` where the view was taken from. */
export function placeCamera(camera: PerspectiveCamera, view: ViewerCamera): void {
  const camToWorld = openCvToThree.clone().multiply(worldToCam(view)).invert();
  camToWorld.decompose(camera.position, camera.quaternion, camera.scale);
  camera.updateMatrixWorld();
}

/**
 * Gives `camera` the view's pinhole, off-centre principal point included. A canvas of another shape than the picture
 * shows the whole picture and more on two sides.
 * @param aspect width over height of the canvas
 */
export function setLens(camera: PerspectiveCamera, view: ViewerCamera, aspect: number, near: number, far: number): void {
  const { width, height, fx, fy, cx, cy } = view;
  const shownWidth = Math.max(width, height * aspect);
  const shownHeight = Math.max(height, width / aspect);
  const left = cx + (shownWidth - width) / 2;
  const top = cy + (shownHeight - height) / 2;
  camera.near = near;
  camera.far = far;
  camera.projectionMatrix.makePerspective(
    (-near * left) / fx,
    (near * (shownWidth - left)) / fx,
    (near * top) / fy,
    (-near * (shownHeight - top)) / fy,
    near,
    far,
  );
  camera.projectionMatrixInverse.copy(camera.projectionMatrix).invert();
}

/** Unit vector up of the scene: the mean of the cameras' own; −y without any. */
export function upOf(views: readonly { camera: ViewerCamera }[]): Vector3 {
  const up = new Vector3();
  for (const { camera } of views) up.sub(new Vector3(...camera.worldToCam.slice(4, 7)));
  return up.lengthSq() > 1e-6 ? up.normalize() : new Vector3(0, -1, 0);
}

/** Where most of the Gaussians are: stragglers far away, which every fitted scene has, do not count. */
export function bulkOf(centres: Float32Array): Box3 {
  const range = (axis: number): [number, number] => {
    const values = centres.filter((_, i) => i % 3 === axis).sort();
    return [values[Math.floor(values.length * 0.05)] ?? -1, values[Math.ceil(values.length * 0.95) - 1] ?? 1];
  };
  const [x, y, z] = [range(0), range(1), range(2)];
  return new Box3(new Vector3(x[0], y[0], z[0]), new Vector3(x[1], y[1], z[1]));
}

/** A camera outside of the box, a little above it, that sees all of it. */
export function cameraOf(box: Box3): ViewerCamera {
  const centre = box.getCenter(new Vector3());
  const radius = Math.max(box.getSize(new Vector3()).length() / 2, 1e-6);
  const [width, height, focal] = [640, 480, 560];
  const forward = new Vector3(0, 0.3, 1).normalize();
  const right = new Vector3(1, 0, 0);
  const down = new Vector3().crossVectors(forward, right);
  const eye = centre.clone().addScaledVector(forward, (-2.6 * radius * focal) / height);
  const row = (axis: Vector3): number[] => [axis.x, axis.y, axis.z, -axis.dot(eye)];
  return {
    width, height, fx: focal, fy: focal, cx: width / 2, cy: height / 2,
    worldToCam: [...row(right), ...row(down), ...row(forward), 0, 0, 0, 1],
  };
}
