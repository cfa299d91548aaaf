#include "native/backend/cuda/types.cuh"
#include "native/ops/elem/slice.h"

namespace rl {

namespace {

// Lengths in elements of Word.
template <class Word>
__global__ void slice_kernel(const Word* __restrict__ source, Word* __restrict__ target, int64_t total, int64_t run,
                             int64_t source_step, int64_t target_step) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t o = i / run, at = i % run;
    target[o * target_step + at] = source[o * source_step + at];
  }
}

template <class Word>
bool launch_as(const SliceArgs& a, cudaStream_t stream) {
  const auto width = static_cast<int64_t>(sizeof(Word));
  const auto bits = reinterpret_cast<uintptr_t>(a.source) | reinterpret_cast<uintptr_t>(a.target) |
                    static_cast<uintptr_t>(a.run | a.source_step | a.target_step);
  if (bits % sizeof(Word) != 0) return false;
  const int64_t total = a.outer * (a.run / width);
  slice_kernel<Word><<<grid_for(total, 256), 256, 0, stream>>>(static_cast<const Word*>(a.source), static_cast<Word*>(a.target),
                                                              total, a.run / width, a.source_step / width, a.target_step / width);
  RL_CUDA(cudaGetLastError());
  return true;
}

}  // namespace

void slice_cuda(const SliceArgs& args, cudaStream_t stream) {
  // The widest word that every address and length allows.
  if (launch_as<uint4>(args, stream) || launch_as<uint32_t>(args, stream) || launch_as<uint16_t>(args, stream)) return;
  launch_as<uint8_t>(args, stream);
}

}  // namespace rl
