#include "native/backend/cuda/types.cuh"
#include "native/ops/conv/patchify.h"

namespace rl {

namespace {

// One thread per element, in the order of the output, so that writes are coalesced.
template <class T, bool kToTokens>
__global__ void patchify_kernel(PatchifyArgs a, int64_t total) {
  const int64_t p = a.patch, height = a.grid_h * p, width = a.grid_w * p;
  for (int64_t at = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; at < total; at += int64_t{gridDim.x} * blockDim.x) {
    int64_t b, channel, row, column, token, inner;
    if (kToTokens) {
      inner = at % (a.channels * p * p);
      token = at / (a.channels * p * p);
      b = token / (a.grid_h * a.grid_w);
      channel = inner / (p * p);
      row = token / a.grid_w % a.grid_h * p + inner / p % p;
      column = token % a.grid_w * p + inner % p;
    } else {
      column = at % width;
      row = at / width % height;
      channel = at / (width * height) % a.channels;
      b = at / (width * height * a.channels);
      token = (b * a.grid_h + row / p) * a.grid_w + column / p;
      inner = (channel * p + row % p) * p + column % p;
    }
    const int64_t image = ((b * a.channels + channel) * height + row) * width + column;
    const int64_t packed = token * a.channels * p * p + inner;
    static_cast<T*>(a.out)[at] = static_cast<const T*>(a.in)[kToTokens ? image : packed];
  }
}

template <bool kToTokens>
void launch(const PatchifyArgs& a, cudaStream_t stream) {
  const int64_t total = a.batch * a.channels * a.grid_h * a.grid_w * a.patch * a.patch;
  if (total == 0) return;
  RL_DISPATCH_CUDA(a.dtype, T, { patchify_kernel<T, kToTokens><<<grid_for(total, 256), 256, 0, stream>>>(a, total); });
  RL_CUDA(cudaGetLastError());
}

}  // namespace

void patchify_cuda(const PatchifyArgs& a, cudaStream_t stream) { launch<true>(a, stream); }
void unpatchify_cuda(const PatchifyArgs& a, cudaStream_t stream) { launch<false>(a, stream); }

}  // namespace rl
