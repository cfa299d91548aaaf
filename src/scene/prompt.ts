/** Instructions: checking what the user wrote, and the sentence that the joint editor gets for a grid of views. */
import { ConfigError } from '../binding/errors';

/** Longest instruction in characters; text encoders read at most 512 tokens, and the grid clause needs room. */
export const maxPromptLength = 1500;

/**
 * The user's instruction on one line: control, format and unpaired surrogate characters removed, white space folded,
 * Unicode NFC.
 * @throws ConfigError when nothing is left, or it is longer than `maxPromptLength`.
 */
export function normalizePrompt(text: string): string {
  const clean = text
    .replace(/\s+/gu, ' ')
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, '')
    .replace(/ +/g, ' ')
    .trim()
    .normalize('NFC');
  if (clean === '') {
    throw new ConfigError('prompt: it is empty; say what to change, for example "turn the photo into sepia"');
  }
  if (clean.length > maxPromptLength) {
    throw new ConfigError(
      `prompt: ${clean.length} characters is over the limit of ${maxPromptLength}; one sentence is enough`,
    );
  }
  return clean;
}

/**
 * Instruction for the joint edit of a rows x cols grid: the edit, where it applies, that it must agree in 3D across the
 * views, and that the rest stays. The short instruction itself serves single-view edits and text metrics.
 */
export function gridPrompt(instruction: string, rows = 3, cols = 3): string {
  const edit = normalizePrompt(instruction).replace(/[\s.;,]+$/u, '');
  if (edit === '') throw new ConfigError(`prompt: "${instruction}" has no words`);
  const stop = /[!?…]$/u.test(edit) ? '' : '.';
  return (
    `${edit}${stop} The picture is a ${rows}x${cols} grid of ${rows * cols} photographs of one and the same scene ` +
    'from different viewpoints: make this change in every cell as a single change to the 3D scene, with the same ' +
    'position, orientation, size, shape and colours seen from each viewpoint, and leave the camera angles, the grid ' +
    'layout and everything else as they are.'
  );
}
