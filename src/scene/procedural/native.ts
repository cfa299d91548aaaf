/** The add-on's ray caster behind the contracts of render.ts. Synchronous: data preparation on the host. */
import { fromNative } from '../../binding/errors';
import { loadBinding } from '../../binding/load';
import type { Raycast, RaycastGBuffer, ShadeGBuffer } from './render';

export interface NativeRenderer {
  raycast: Raycast;
  trace: RaycastGBuffer;
  shade: ShadeGBuffer;
}

export function nativeRenderer(): NativeRenderer {
  const { binding } = loadBinding();
  const typed = <T>(run: () => T): T => {
    try {
      return run();
    } catch (error) {
      throw fromNative(error);
    }
  };
  return {
    raycast: (scene, cameras, { width, height, spp }) => typed(() => binding.raycast(scene, cameras, width, height, spp)),
    trace: (scene, cameras, { width, height, spp }) => typed(() => binding.raycastGBuffer(scene, cameras, width, height, spp)),
    shade: (scene, samples, _views, { width, height, spp }) => typed(() => binding.shadeGBuffer(scene, samples, width, height, spp)),
  };
}
