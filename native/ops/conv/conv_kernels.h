// Internal: the inner kernels of the CPU convolution, one set per ISA (instances of conv_kernels.inl).
#pragma once

#include <cstdint>

namespace rl::cpu {

struct ConvKernels {
  int lanes;                         // floats per vector
  int mr;                            // rows of a packed weight panel
  int max_vectors;                   // a tile is at most mr x (max_vectors * lanes)
  int weight_rows, weight_columns;   // of a weight_tile, at most

  // out[i][j] = init[i] + sum_k a[k * mr + i] * b[offsets[k] + j] for i < rows (rounded up to what the ISA has), j <
  // vectors * lanes.
  // out has rows of out_stride floats and room for mr rows.
  void (*tile)(int rows, int vectors, int64_t k, const float* a, const int64_t* offsets, const float* b,
      const float* init,
               float* out, int64_t out_stride);

  // out[i][j] += sum_{p < n} dy[i * dy_stride + p] * x[offsets[j] + p] for i < rows, j < columns; n is a multiple
  // of lanes.
  void (*weight_tile)(int rows, int columns, int64_t n, const float* dy, int64_t dy_stride, const float* x,
                      const int64_t* offsets, float* out, int64_t out_stride);
};

const ConvKernels& conv_kernels();  // of best_isa()

}  // namespace rl::cpu
