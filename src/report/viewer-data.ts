/** What a page tells the splat viewer: the contract between the programs that write pages and the browser's side. */

/** Pinhole camera of a view: OpenCV axes, pixel centres at +0.5, worldToCam 4x4 (or its upper 3x4) row-major. */
export interface ViewerCamera {
  width: number;
  height: number;
  fx: number;
  fy: number;
  cx: number;
  cy: number;
  worldToCam: readonly number[];
}

export interface ViewerScene {
  title: string;
  format: 'ply' | 'spz' | 'splat';
  /** Id of the element whose text is the file in base64; else `url` says where it is. */
  element?: string;
  url?: string;
}

export interface ViewerData {
  /** One or two; with two a button switches between them. */
  scenes: readonly ViewerScene[];
  /** Cameras to snap to; without any the viewer looks at the scene from its own distance. */
  views: readonly { name: string; camera: ViewerCamera }[];
  /** Display-referred RGB behind the scene. */
  background: readonly [number, number, number];
}

/** Id of the element that the viewer fills. */
export const viewerElement = 'splat-viewer';
/** Id of the script element that holds the `ViewerData` as JSON. */
export const viewerDataElement = 'splat-viewer-data';
