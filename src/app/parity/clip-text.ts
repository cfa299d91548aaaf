/** CLIP text encoder: last hidden state and the pooled vector. */
import { parseClipConfig } from '../model/network-configs';
import { ClipTextEncoder } from '../../models/text/clip';
import type { ParityContext, ParityResult } from './kinds';
import { runTextCase } from './text-case';

export const kind = 'clip-text';

export function run(dir: string, context: ParityContext): Promise<ParityResult> {
  return runTextCase(dir, context, (weights, files) => {
    const encoder = new ClipTextEncoder(weights, parseClipConfig(files.config, `${dir}/case.json: config`));
    return (ids) => {
      const { lastHiddenState, pooled } = encoder.forward(ids);
      return { last_hidden_state: lastHiddenState, pooler_output: pooled };
    };
  });
}
