/** A canvas that shows Gaussian splats: draws only when something changed, because without a GPU a frame takes a second. */
import { SparkRenderer, SplatFileType, SplatMesh } from '@sparkjsdev/spark';
import { Box3, Color, PerspectiveCamera, Scene, SRGBColorSpace, Vector3, WebGLRenderer } from 'three';
import { OrbitControls } from 'three/addons/controls/OrbitControls.js';
import type { ViewerCamera, ViewerScene } from '../report/viewer-data';
import { bulkOf, placeCamera, setLens } from './cameras';

const fileTypes = { ply: SplatFileType.PLY, spz: SplatFileType.SPZ, splat: SplatFileType.SPLAT };

export class Stage {
  private readonly renderer: WebGLRenderer;
  private readonly spark: SparkRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera();
  private readonly controls: OrbitControls;
  private readonly meshes: SplatMesh[] = [];
  private view?: ViewerCamera;
  private bulk = new Box3(new Vector3(-1, -1, -1), new Vector3(1, 1, 1));
  private frame = 0;

  /**
   * @param onFrame called before and after each frame: whether the picture is final (no sort is under way)
   * @throws Error where the browser has no WebGL 2
   */
  constructor(
    readonly canvas: HTMLCanvasElement,
    background: readonly [number, number, number],
    up: Vector3,
    private readonly onFrame: (settled: boolean) => void,
  ) {
    // The picture must outlive its frame: it is drawn once and then only looked at.
    this.renderer = new WebGLRenderer({ canvas, antialias: false, preserveDrawingBuffer: true });
    this.renderer.setClearColor(new Color().setRGB(...background, SRGBColorSpace), 1);
    this.spark = new SparkRenderer({
      renderer: this.renderer,
      // The conventions of the original rasteriser: dilation without compensation, order by depth, cut at 1/255.
      preBlurAmount: 0.3,
      blurAmount: 0,
      sortRadial: false,
      minAlpha: 1 / 255,
      maxStdDev: 3.33,
      enableLod: false,
      onDirty: () => this.draw(),
    });
    this.scene.add(this.spark);
    this.camera.up.copy(up);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.addEventListener('change', () => this.draw());
  }

  /** Adds a scene, hidden unless it is the first. @throws what the file is not */
  async add(scene: ViewerScene, bytes: Uint8Array): Promise<void> {
    const mesh = new SplatMesh({ fileBytes: bytes, fileType: fileTypes[scene.format] });
    await mesh.initialized;
    mesh.visible = this.meshes.length === 0;
    if (this.meshes.length === 0) {
      const centres: number[] = [];
      mesh.updateMatrixWorld();
      mesh.forEachSplat((_, centre) => centres.push(...centre.clone().applyMatrix4(mesh.matrixWorld).toArray()));
      this.bulk = bulkOf(Float32Array.from(centres));
    }
    this.meshes.push(mesh);
    this.scene.add(mesh);
    this.draw();
  }

  /** Where most of the first scene is. */
  get box(): Box3 {
    return this.bulk;
  }

  /** Shows the scene of that index alone. */
  show(index: number): void {
    this.meshes.forEach((mesh, i) => (mesh.visible = i === index));
    this.draw();
  }

  /** Looks through a view's camera; dragging goes on from there. */
  look(view: ViewerCamera): void {
    this.view = view;
    this.canvas.style.aspectRatio = `${view.width} / ${view.height}`;
    placeCamera(this.camera, view);
    const forward = this.camera.getWorldDirection(new Vector3());
    const centre = this.bulk.getCenter(new Vector3());
    const ahead = centre.sub(this.camera.position).dot(forward);
    const reach = this.bulk.getSize(new Vector3()).length();
    this.controls.target.copy(this.camera.position).addScaledVector(forward, Math.max(ahead, 0.05 * reach));
    this.resize();
  }

  /** Fits the drawing to the canvas as it is laid out. */
  resize(): void {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!this.view || width === 0 || height === 0) return;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.renderer.setSize(width, height, false);
    const reach = this.bulk.getSize(new Vector3()).length();
    setLens(this.camera, this.view, width / height, Math.max(1e-4 * reach, 1e-6), 1e3 * Math.max(reach, 1));
    this.draw();
  }

  private draw(): void {
    if (this.frame !== 0) return;
    this.onFrame(false);
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.view) return;
      this.renderer.render(this.scene, this.camera);
      // Asked for in the next turn: Spark begins its sort, or asks for another frame, behind promises.
      setTimeout(() => this.onFrame(this.frame === 0 && !this.spark.sorting && !this.spark.sortDirty), 0);
    });
  }
}
