// Portable GEMM kernels: the fallback, and the plain statement of what the vector kernels compute.
#include "native/backend/cpu/gemm_kernels.h"

namespace rl::cpu {
namespace {

constexpr int kMr = 4, kNr = 16;

float element(const PanelSource& source, int64_t w, int64_t k, bool round_bf16) {
  const int64_t at = source.k_contiguous ? w * source.stride + k : k * source.stride + w;
  if (source.type == ElementType::bf16) return to_float(static_cast<const bf16*>(source.data)[at]);
  const float value = static_cast<const float*>(source.data)[at];
  return round_bf16 ? round_to_bf16(value) : value;
}

template <int kWidth>
void pack(void* panel, const PanelSource& source, int64_t w0, int w_count, int64_t k0, int64_t k_count,
          bool round_bf16) {
  float* out = static_cast<float*>(panel);
  for (int64_t k = 0; k < k_count; ++k)
    for (int w = 0; w < kWidth; ++w)
      out[k * kWidth + w] = w < w_count ? element(source, w0 + w, k0 + k, round_bf16) : 0.0f;
}

void multiply(int m, int n, int64_t k, const void* a_data, int64_t a_row_stride, int64_t a_k_stride, const void* b_data,
              int64_t b_k_stride, float* c, int64_t c_row_stride, const float* init, bool accumulate) {
  const float* a = static_cast<const float*>(a_data);
  const float* b = static_cast<const float*>(b_data);
  float sum[kMr][kNr];
  for (int i = 0; i < kMr; ++i)
    for (int j = 0; j < kNr; ++j) sum[i][j] = init && j < n ? init[j] : 0.0f;
  if (n == kNr) {
    for (int64_t p = 0; p < k; ++p, b += b_k_stride)
      for (int i = 0; i < m; ++i) {
        const float left = a[i * a_row_stride + p * a_k_stride];
        for (int j = 0; j < kNr; ++j) sum[i][j] += left * b[j];
      }
  } else {
    for (int64_t p = 0; p < k; ++p, b += b_k_stride)
      for (int i = 0; i < m; ++i) {
        const float left = a[i * a_row_stride + p * a_k_stride];
        for (int j = 0; j < n; ++j) sum[i][j] += left * b[j];
      }
  }
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      float* out = c + i * c_row_stride + j;
      *out = accumulate ? *out + sum[i][j] : sum[i][j];
    }
}

void dot_few(int rows, int64_t k, const float* few, int64_t few_stride, const PanelSource& stream, int64_t begin,
             int64_t end, float* out, int64_t out_r, int64_t out_j) {
  for (int64_t j = begin; j < end; ++j)
    for (int r = 0; r < rows; ++r) {
      float sum = 0;
      for (int64_t p = 0; p < k; ++p) sum += few[r * few_stride + p] * element(stream, j, p, false);
      out[r * out_r + j * out_j] = sum;
    }
}

}  // namespace

const GemmKernels& gemm_kernels_scalar() {
  static const TileKernel tile{kMr, kNr, 1, 4, true, 256, 128, pack<kMr>, pack<kNr>, multiply};
  static const GemmKernels kernels{tile, tile, dot_few};
  return kernels;
}

}  // namespace rl::cpu
