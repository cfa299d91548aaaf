/** T5 encoder: last hidden state, padding rows included. */
import { parseT5Config } from '../model/network-configs';
import { T5Encoder } from '../../models/text/t5';
import type { ParityContext, ParityResult } from './kinds';
import { runTextCase } from './text-case';

export const kind = 't5-encoder';

export function run(dir: string, context: ParityContext): Promise<ParityResult> {
  let encoder: T5Encoder | undefined;
  return runTextCase(
    dir,
    context,
    (weights, files) => {
      const built = new T5Encoder(weights, parseT5Config(files.config, `${dir}/case.json: config`));
      encoder = built;
      return (ids) => ({ last_hidden_state: built.forward(ids) });
    },
    () => encoder?.dispose(),
  );
}
