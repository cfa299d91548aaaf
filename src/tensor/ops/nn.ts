import { onTape, tracked } from '../tape';
import type { Tensor } from '../tensor';
import { call, callMany } from './call';
import { unary } from './elem';

export type Activation = 'none' | 'gelu_tanh' | 'gelu_erf' | 'quick_gelu' | 'silu' | 'relu';

export interface MatmulOptions {
  transposeA?: boolean;
  transposeB?: boolean;
}

/**
 * op(a) op(b) with a [..., M, K] and b [..., K, N] (last two dimensions swapped where transposed) → [..., M, N]. Leading
 * dimensions are the same, or one operand is a single matrix that every batch item uses.
 */
export function matmul(a: Tensor, b: Tensor, { transposeA = false, transposeB = false }: MatmulOptions = {}): Tensor {
  const y = call('matmul', a, b, null, transposeA, transposeB, 'none');
  onTape([a, b], [y], [a, b], ([dy], needs) => callMany('matmul_bwd', dy, a, b, transposeA, transposeB, needs[0], needs[1]));
  return y;
}

/**
 * activation(x weightᵀ + bias) with x [..., in], weight [out, in], bias [out] → [..., out]. The activation is fused into the
 * product unless a gradient flows: then what enters it is kept.
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor | null, activation: Activation = 'none'): Tensor {
  const follows = tracked(x) || tracked(weight) || tracked(bias ?? null);
  if (follows && activation !== 'none') return unary(linear(x, weight, bias), activation);
  const y = call('matmul', x, weight, bias, false, true, activation);
  // x is kept for dweight alone and weight for dx alone: frozen weights hold no activations.
  const saved = [tracked(weight) ? x : null, tracked(x) ? weight : null];
  onTape([x, weight, bias ?? null], [y], saved, ([dy], [needX, needWeight, needBias]) =>
    callMany('linear_bwd', dy, needWeight ? x : null, needX ? weight : null, needX, needWeight, needBias),
  );
  return y;
}

export interface AttentionOptions {
  /** Factor of the scores; 1/sqrt(D) when absent. */
  scale?: number;
  /** Query i sees keys 0..i. */
  causal?: boolean;
  /** Added to the scaled scores, [H, Lq, Lk], f32. */
  bias?: Tensor | null;
}

/** softmax(scale q kᵀ + bias) v per head: q [B, Lq, H, D], k and v [B, Lk, H, D] → [B, Lq, H, D]. */
export function attention(q: Tensor, k: Tensor, v: Tensor, { scale, causal = false, bias }: AttentionOptions = {}): Tensor {
  const factor = scale ?? 1 / Math.sqrt(q.dim(-1));
  const keep = tracked(q) || tracked(k) || tracked(v) || tracked(bias ?? null);
  const [y, lse] = callMany('attention', q, k, v, bias, factor, causal, keep) as [Tensor, Tensor | null];
  onTape([q, k, v, bias ?? null], [y], [q, k, v, y, lse, bias ?? null], ([dy], needs) =>
    callMany('attention_bwd', dy, q, k, v, y, lse, bias, factor, causal, needs[3]),
  );
  lse?.dispose();
  return y;
}

/** (x − mean) / sqrt(var + eps) · weight + bias over the last dimension; weight and bias [D] are optional. */
export function layernorm(x: Tensor, weight: Tensor | null | undefined, bias: Tensor | null | undefined, eps: number): Tensor {
  const y = call('layernorm', x, weight, bias, eps);
  onTape([x, weight ?? null, bias ?? null], [y], [x, weight ?? null], ([dy], needs) =>
    callMany('layernorm_bwd', dy, x, weight, eps, needs[0], needs[1], needs[2]),
  );
  return y;
}

/** x / sqrt(mean(x²) + eps) · weight over the last dimension. */
export function rmsnorm(x: Tensor, weight: Tensor, eps = 1e-6): Tensor {
  const y = call('rmsnorm', x, weight, eps);
  onTape([x, weight], [y], [x, weight], ([dy], needs) => callMany('rmsnorm_bwd', dy, x, weight, eps, needs[1]));
  return y;
}

/** LN(x) (1 + scale) + shift, LN without affine: x [B, L, C], shift and scale [B, C]. */
export function modulate(x: Tensor, shift: Tensor, scale: Tensor, eps = 1e-6): Tensor {
  const y = call('modulate', x, shift, scale, eps);
  onTape([x, shift, scale], [y], [x, scale], ([dy], needs) =>
    callMany('modulate_bwd', dy, x, scale, eps, needs[0], needs[1], needs[2]),
  );
  return y;
}

/** x + gate ∘ branch: x and branch [B, L, C], gate [B, C]. */
export function gatedResidual(x: Tensor, gate: Tensor, branch: Tensor): Tensor {
  const y = call('gated_residual', x, gate, branch);
  onTape([x, gate, branch], [y], [gate, tracked(gate) ? branch : null], ([dy], [, needGate, needBranch]) => {
    if (!needGate && !needBranch) return [dy, null, null];
    return [dy, ...callMany('gated_residual_bwd', dy, gate, needGate ? branch : null, needGate, needBranch)];
  });
  return y;
}

/**
 * Rotates the pairs (j, j + block/2) inside blocks of `block` elements of the head dimension: x [B, L, H, D], cos and sin
 * [L, D/2] in f32, one column per pair in running order. block 2 is FLUX's interleaved form, block D/2 VGGT's.
 */
export function rope(x: Tensor, cos: Tensor, sin: Tensor, block: number): Tensor {
  const y = call('rope', x, cos, sin, block, false);
  onTape([x], [y], [cos, sin], ([dy]) => [call('rope', dy as Tensor, cos, sin, block, true)]);
  return y;
}

/** Rows of table [V, C] at ids (i32, any shape) → [...ids.shape, C]. */
export function embedding(ids: Tensor, table: Tensor): Tensor {
  const vocabulary = table.dim(0);
  const y = call('embedding', ids, table);
  onTape([table], [y], [ids], ([dy]) => [call('embedding_bwd', dy as Tensor, ids, vocabulary)]);
  return y;
}

/** [cos(t f_k) | sin(t f_k)] with f_k = 10000^(−k/(dim/2)): t [B] in f32 → [B, dim] in f32. No gradient. */
export function sinusoidalEmbedding(t: Tensor, dim: number): Tensor {
  return call('sinusoidal_embedding', t, dim);
}
