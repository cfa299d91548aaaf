/** A rendered splat scene: picture, coverage, depth and the gradients of all parameters. */
import { z } from 'zod';
import type { Device } from '../../tensor/device';
import { permute, reshape, slice, concat } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { Gaussians } from '../../scene/gaussians/gaussians';
import { defaultNear, rasterize } from '../../scene/gaussians/rasterize';
import { Comparison, parseWith, readCase } from './kinds';
import type { HostTensors, ParityContext, ParityResult } from './kinds';

export const kind = 'gaussian-splat';

const side = z.number().int().min(1).max(16384);
const schema = z.looseObject({
  width: side,
  height: side,
  sh_degree: z.number().int().min(0).max(3),
  intrinsics: z.tuple([z.number(), z.number(), z.number(), z.number()]),
  background: z.tuple([z.number(), z.number(), z.number()]).default([0, 0, 0]),
  near: z.number().positive().default(defaultNear),
});

/** Splatting is f32 whatever the networks compute in. */
export async function run(dir: string, { device }: ParityContext): Promise<ParityResult> {
  const files = await readCase(dir);
  const { width, height, sh_degree: degree, intrinsics, background, near } = parseWith(schema, files.description, `${dir}/case.json`);
  const [fx, fy, cx, cy] = intrinsics;
  const worldToCam = Float64Array.from([...files.inputs.floats('camera'), 0, 0, 0, 1]);
  const gaussians = upload(files.inputs, device);
  const comparison = new Comparison(files.expected);
  try {
    using rendering = await rasterize(gaussians, { width, height, fx, fy, cx, cy, worldToCam }, { background, degree, near });
    const computed = scope(() => {
      const { parameters: d } = rendering.backward({
        image: permute(files.inputs.upload('cotangent_rgb', device), [2, 0, 1]),
        alpha: files.inputs.upload('cotangent_alpha', device),
        depth: files.inputs.upload('cotangent_depth', device),
      });
      return {
        rgb: permute(rendering.image, [1, 2, 0]),
        'grad.means': d.means,
        'grad.quats_wxyz': d.quats,
        'grad.log_scales': d.logScales,
        'grad.opacity_logits': d.opacityLogits,
        'grad.sh': concat([reshape(d.sh0, [d.sh0.dim(0), 1, 3]), d.shRest], 1),
      };
    });
    await comparison.check('alpha', rendering.alpha);
    await comparison.check('depth', rendering.depth);
    for (const [name, tensor] of Object.entries(computed)) {
      await comparison.check(name, tensor);
      tensor.dispose();
    }
  } finally {
    gaussians.dispose();
  }
  return comparison.finish();
}

function upload(inputs: HostTensors, device: Device): Gaussians {
  const parameters = scope(() => {
    const sh = inputs.upload('sh', device);
    const [count, coefficients] = sh.shape;
    return {
      means: inputs.upload('means', device),
      quats: inputs.upload('quats_wxyz', device),
      logScales: inputs.upload('log_scales', device),
      opacityLogits: inputs.upload('opacity_logits', device),
      sh0: reshape(slice(sh, 1, 0, 1), [count, 3]),
      shRest: slice(sh, 1, 1, coefficients - 1),
    } satisfies Record<string, Tensor>;
  });
  return new Gaussians(device, parameters, Math.sqrt(parameters.shRest.dim(1) + 1) - 1);
}
