/** What a loaded scene is. Loading decodes no image; `loadView` does, one view at a time. */
import type { Camera } from './cameras';
import type { Lens } from './lens';

export interface SceneView {
  /** File name without its ending where that is unique in the scene, else the path as the scene file writes it. */
  readonly name: string;
  readonly imagePath: string;
  /** Pinhole camera of the straightened image at the size the scene file gives. */
  readonly camera: Camera;
  /** Intrinsics and lens of the photograph itself; absent when the photograph is free of distortion. */
  readonly photograph?: { readonly camera: Camera; readonly lens: Lens };
}

/** Sparse points of structure from motion, in world coordinates. */
export interface ScenePoints {
  readonly count: number;
  /** [count, 3] */
  readonly positions: Float32Array;
  /** [count, 3] 8-bit RGB, where the file has colours. */
  readonly colors?: Uint8Array;
}

/** The layouts that are read. */
export type SceneFormat = 'nerfstudio' | 'colmap' | 'blendedmvs' | 'nerf-synthetic';

export interface Scene {
  readonly name: string;
  /** Folder that holds the scene file. */
  readonly root: string;
  readonly format: SceneFormat;
  /** Sorted by image file. */
  readonly views: readonly SceneView[];
  readonly points?: ScenePoints;
  /** Things worth telling the user that do not stop the work. */
  readonly warnings: readonly string[];
}
