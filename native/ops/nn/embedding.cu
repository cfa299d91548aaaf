#include "native/ops/nn/embedding.h"
#include "native/ops/nn/rows.cuh"

namespace rl {

namespace {

using namespace rl::rows;

template <class T, int N>
__global__ void embedding_kernel(const int32_t* __restrict__ ids, const T* __restrict__ table, T* __restrict__ y, int64_t count,
                                 int64_t vocabulary, int64_t dim) {
  const int64_t row = team_row();
  if (row >= count) return;
  const int64_t id = ids[row];
  each_pack<false>(dim / N, [&](int, int64_t pack) {
    float v[N];
    if (id >= 0 && id < vocabulary) {
      load<T, N>(table + id * dim + pack * N, v);
    } else {
#pragma unroll
      for (int i = 0; i < N; ++i) v[i] = __int_as_float(0x7FC00000);  // NaN: a bad id must not pass for a row
    }
    store<T, N>(y + row * dim + pack * N, v);
  });
}

// One warp per table row and 32 columns looks for its id among all ids, 32 at a time, and adds the matches in order.
template <class T>
__global__ void embedding_bwd_kernel(const T* __restrict__ dy, const int32_t* __restrict__ ids, T* __restrict__ dtable,
                                     int64_t count, int64_t vocabulary, int64_t dim) {
  const int64_t id = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (id >= vocabulary) return;
  for (int64_t first = int64_t{blockIdx.y} * 32; first < dim; first += int64_t{gridDim.y} * 32) {
    const int64_t column = first + threadIdx.x;
    float sum = 0;
    for (int64_t base = 0; base < count; base += 32) {
      const int64_t mine = base + threadIdx.x;
      unsigned matches = __ballot_sync(0xFFFFFFFFu, mine < count && ids[mine] == id);
      for (; matches != 0; matches &= matches - 1) {
        const int64_t row = base + __ffs(static_cast<int>(matches)) - 1;
        if (column < dim) sum += to_f32(dy[row * dim + column]);
      }
    }
    if (column < dim) dtable[id * dim + column] = from_f32<T>(sum);
  }
}

}  // namespace

void embedding_cuda(const EmbeddingArgs& a, cudaStream_t stream) {
  if (a.count * a.dim == 0) return;
  RL_DISPATCH_CUDA(a.dtype, T, {
    RL_DISPATCH_WIDTH(wide<T>(a.dim, {a.table, a.y}), T, N, {
      const Launch l = launch_for(a.count, a.dim / N);
      embedding_kernel<T, N><<<l.grid, l.block, 0, stream>>>(a.ids, static_cast<const T*>(a.table), static_cast<T*>(a.y), a.count,
                                                             a.vocabulary, a.dim);
    });
  });
  RL_CUDA(cudaGetLastError());
}

void embedding_bwd_cuda(const EmbeddingBwdArgs& a, cudaStream_t stream) {
  if (a.vocabulary * a.dim == 0) return;
  const int64_t columns = (a.dim + 31) / 32;
  const dim3 grid(static_cast<unsigned>((a.vocabulary + 3) / 4), static_cast<unsigned>(columns < 65535 ? columns : 65535));
  RL_DISPATCH_CUDA(a.dtype, T, {
    embedding_bwd_kernel<T><<<grid, dim3(32, 4), 0, stream>>>(static_cast<const T*>(a.dy), a.ids, static_cast<T*>(a.dtable), a.count,
                                                              a.vocabulary, a.dim);
  });
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
