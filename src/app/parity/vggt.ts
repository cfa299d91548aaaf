import { loadVggt } from '../../models/vggt/checkpoint';
import { parseVggtConfig } from '../../models/vggt/config';
import { decodePoses } from '../../models/vggt/pose-encoding';
import type { VggtOutput } from '../../models/vggt/vggt';
import { SafetensorsWeights } from '../../tensor/safetensors';
import type { Tensor } from '../../tensor/tensor';
import { Comparison, readCase } from './kinds';
import type { ParityContext, ParityResult } from './kinds';

export const kind = 'vggt';

/** All outputs of the network, its aggregator tokens (`tokens.N`) and the cameras decoded from the pose encodings. */
export async function run(dir: string, { device, dtype }: ParityContext): Promise<ParityResult> {
  const files = await readCase(dir);
  const config = parseVggtConfig(files.config, `${dir}: config`);
  using source = new SafetensorsWeights(device, files.weights, { dtype });
  const network = loadVggt(source, config);
  const comparison = new Comparison(files.expected);
  const images = files.inputs.upload('images', device);
  const layers = files.expected.names.flatMap((name) => /^tokens\.(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  const output = network.forward(images, { returnTokens: layers });
  try {
    for (const [layer, tokens] of output.tokens) await comparison.check(`tokens.${layer}`, tokens);
    for (const [name, tensor] of Object.entries(named(output))) {
      if (files.expected.has(name)) await comparison.check(name, tensor);
    }
    const [height, width] = images.shape.slice(-2);
    const cameras = decodePoses(await output.poseEnc.toFloat32(), height, width);
    if (files.expected.has('extrinsics')) await comparison.check('extrinsics', cameras.flatMap((camera) => camera.extrinsics));
    if (files.expected.has('intrinsics')) await comparison.check('intrinsics', cameras.flatMap((camera) => camera.intrinsics));
  } finally {
    for (const tensor of [images, ...Object.values(named(output)), ...output.poseRounds, ...output.tokens.values()]) tensor.dispose();
    network.dispose();
  }
  return comparison.finish();
}

function named(output: VggtOutput): Record<string, Tensor> {
  return {
    pose_enc: output.poseEnc,
    depth: output.depth,
    depth_conf: output.depthConf,
    world_points: output.worldPoints,
    world_points_conf: output.worldPointsConf,
  };
}
