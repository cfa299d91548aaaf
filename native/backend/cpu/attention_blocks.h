// Internal: what the forward and the backward pass of attention share.
#pragma once

#include <algorithm>

#include "native/backend/cpu/attention.h"
#include "native/backend/cpu/gemm_kernels.h"

namespace rl::cpu {

inline int64_t blocks_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

// One head of a [B,L,H,D] array: L rows of d elements.
struct HeadRows {
  const void* data;
  ElementType type;
  int64_t stride;  // heads * d

  HeadRows(const void* base, const AttentionArgs& args, int64_t length, int64_t batch, int64_t head)
      : data(static_cast<const char*>(base) + (batch * length * args.heads + head) * args.d * bytes(args.type)),
        type(args.type),
        stride(args.heads * args.d) {}
  static int64_t bytes(ElementType type) { return type == ElementType::f32 ? 4 : 2; }
  // Vectors along d (one per row), or along the rows (one per component).
  PanelSource along_d() const { return {data, type, stride, true}; }
  PanelSource along_rows() const { return {data, type, stride, false}; }
};

// Packed operand: `vectors` of length k in panels of kernel.mr (as_a) or kernel.nr.
inline int64_t packed_bytes(const TileKernel& kernel, bool as_a, int64_t vectors, int64_t k) {
  const int width = as_a ? kernel.mr : kernel.nr;
  return blocks_of(vectors, width) * kernel.panel_bytes(width, k);
}

inline void pack_operand(const TileKernel& kernel, bool as_a, char* out, const PanelSource& source, int64_t w0,
                         int64_t vectors, int64_t k0, int64_t k, bool round_bf16) {
  const int width = as_a ? kernel.mr : kernel.nr;
  for (int64_t w = 0; w < vectors; w += width, out += kernel.panel_bytes(width, k))
    (as_a ? kernel.pack_a : kernel.pack_b)(out, source, w0 + w, static_cast<int>(std::min<int64_t>(width, vectors - w)),
                                           k0, k, round_bf16);
}

// C[m,n] (+)= A B on packed panels.
inline void multiply_packed(const TileKernel& kernel, int64_t m, int64_t n, int64_t k, const char* a, const char* b,
                            float* c, int64_t c_stride, bool accumulate) {
  const int64_t a_step = kernel.panel_bytes(kernel.mr, k), b_step = kernel.panel_bytes(kernel.nr, k);
  for (int64_t j = 0; j < n; j += kernel.nr, b += b_step) {
    const char* panel = a;
    for (int64_t i = 0; i < m; i += kernel.mr, panel += a_step)
      kernel.multiply(static_cast<int>(std::min<int64_t>(kernel.mr, m - i)),
                      static_cast<int>(std::min<int64_t>(kernel.nr, n - j)), k, panel, 1, kernel.mr, b, kernel.nr,
                      c + i * c_stride + j, c_stride, nullptr, accumulate);
  }
}

// The same with A an f32 scratch block, [m,k] or (transposed) [k,m], read in place where the kernel can. `space` has
// packed_bytes(kernel, true, m, k).
inline void multiply_block(const TileKernel& kernel, int64_t m, int64_t n, int64_t k, const float* a, int64_t a_stride,
                           bool transposed, char* space, bool round_bf16, const char* b, float* c, int64_t c_stride,
                           bool accumulate) {
  if (!kernel.direct || round_bf16) {
    pack_operand(kernel, true, space, {a, ElementType::f32, a_stride, !transposed}, 0, m, 0, k, round_bf16);
    return multiply_packed(kernel, m, n, k, space, b, c, c_stride, accumulate);
  }
  const int64_t row = transposed ? 1 : a_stride, step = transposed ? a_stride : 1;
  const int64_t b_step = kernel.panel_bytes(kernel.nr, k);
  for (int64_t j = 0; j < n; j += kernel.nr, b += b_step)
    for (int64_t i = 0; i < m; i += kernel.mr)
      kernel.multiply(static_cast<int>(std::min<int64_t>(kernel.mr, m - i)),
                      static_cast<int>(std::min<int64_t>(kernel.nr, n - j)), k, a + i * row, row, step, b, kernel.nr,
                      c + i * c_stride + j, c_stride, nullptr, accumulate);
}

void check_attention(const AttentionArgs& args, const char* name);

// Rows of f32 to the element type of the arrays.
void store_rows(const float* rows, int64_t count, int64_t d, void* base, const AttentionArgs& args, int64_t length,
                int64_t batch, int64_t head, int64_t first, float factor);

}  // namespace rl::cpu
