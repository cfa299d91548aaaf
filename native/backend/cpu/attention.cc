// Attention, forward. A task is one block of queries of one head; K and V of a head are packed once for all of them.
#include "native/backend/cpu/attention.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "native/backend/cpu/attention_blocks.h"
#include "native/backend/cpu/vec_kernels.h"
#include "native/core/error.h"
#include "native/core/thread_pool.h"

namespace rl::cpu {
namespace {

// At most this much of packed K and V at a time, when all threads share a head.
constexpr int64_t kPackedBytes = 64 << 20;
constexpr float kNone = -std::numeric_limits<float>::infinity();

thread_local Workspace packed_keys, block_space;

struct Forward {
  const AttentionArgs& args;
  const TileKernel& kernel;
  const VecKernels& vec;
  bool round_bf16;
  int64_t q_block, k_block;

  explicit Forward(const AttentionArgs& a)
      : args(a),
        kernel(a.compute == Compute::bf16 ? gemm_kernels().bf16 : gemm_kernels().f32),
        vec(vec_kernels()),
        round_bf16(a.compute == Compute::bf16),
        // The scores of a block (about 56 x 256 f32) and its K and V panels stay in L2; a wide head takes fewer keys.
        q_block(kernel.mr * std::max<int64_t>(1, 64 / kernel.mr)),
        k_block(a.d <= 128 ? 256 : 128) {}

  int64_t key_blocks() const { return blocks_of(args.lk, k_block); }
  int64_t query_blocks() const { return blocks_of(args.lq, q_block); }
  int64_t k_bytes() const { return packed_bytes(kernel, false, k_block, args.d); }
  int64_t v_bytes() const { return packed_bytes(kernel, false, args.d, k_block); }
  int64_t head_bytes() const { return key_blocks() * (k_bytes() + v_bytes()); }

  // K^T panels, then V panels, of one key block.
  void pack_keys(char* head_space, int64_t batch, int64_t head, int64_t block) const {
    const int64_t j0 = block * k_block, count = std::min(k_block, args.lk - j0);
    char* out = head_space + block * (k_bytes() + v_bytes());
    pack_operand(kernel, false, out, HeadRows(args.k, args, args.lk, batch, head).along_d(), j0, count, 0, args.d,
                 round_bf16);
    pack_operand(kernel, false, out + k_bytes(), HeadRows(args.v, args, args.lk, batch, head).along_rows(), 0, args.d,
                 j0, count, round_bf16);
  }

  void run(const char* head_space, int64_t batch, int64_t head, int64_t block) const {
    const int64_t d = args.d, i0 = block * q_block, rows = std::min(q_block, args.lq - i0);
    const int64_t q_bytes = (packed_bytes(kernel, true, q_block, d) + 63) / 64 * 64;
    const int64_t p_bytes = (packed_bytes(kernel, true, q_block, k_block) + 63) / 64 * 64;
    const int64_t row_floats = (q_block + 15) / 16 * 16;
    char* space = static_cast<char*>(
        block_space.reserve(q_bytes + p_bytes + 4 * (q_block * (k_block + d) + 2 * row_floats + 64)));
    char* q_panels = space;
    char* p_panels = q_panels + q_bytes;
    float* scores = reinterpret_cast<float*>(p_panels + p_bytes);
    float* sums = scores + q_block * k_block;
    float* row_max = sums + q_block * d;
    float* row_sum = row_max + row_floats;
    pack_operand(kernel, true, q_panels, HeadRows(args.q, args, args.lq, batch, head).along_d(), i0, rows, 0, d,
                 round_bf16);
    std::fill(row_max, row_max + rows, kNone);
    std::fill(row_sum, row_sum + rows, 0.0f);
    const KernelScope scope(kernel);
    const int64_t seen = args.causal ? std::min(args.lk, i0 + rows) : args.lk;
    for (int64_t j0 = 0; j0 < seen; j0 += k_block) {
      const int64_t columns = std::min(k_block, args.lk - j0), used = std::min(columns, seen - j0);
      const char* keys = head_space + j0 / k_block * (k_bytes() + v_bytes());
      multiply_packed(kernel, rows, used, d, q_panels, keys, scores, k_block, false);
      for (int64_t i = 0; i < rows; ++i) {
        float* row = scores + i * k_block;
        const int64_t valid = args.causal ? std::clamp<int64_t>(i0 + i - j0 + 1, 0, used) : used;
        const float* bias = args.bias ? args.bias + (head * args.lq + i0 + i) * args.lk + j0 : nullptr;
        const float factor =
            valid > 0 ? vec.softmax_step(valid, row, args.scale, bias, row_max + i, row_sum + i) : 1.0f;
        if (valid < columns) std::memset(row + valid, 0, static_cast<size_t>(columns - valid) * 4);
        if (j0 > 0 && factor != 1.0f) vec.scale(sums + i * d, factor, d);
      }
      multiply_block(kernel, rows, d, columns, scores, k_block, false, p_panels, round_bf16, keys + k_bytes(), sums, d,
                     j0 > 0);
    }
    for (int64_t i = 0; i < rows; ++i) {
      // No key at all: zeros. A NaN sum fails the comparison and stays NaN.
      const bool empty = row_sum[i] == 0.0f;
      if (empty) std::memset(sums + i * d, 0, static_cast<size_t>(d) * 4);
      store_rows(sums + i * d, 1, d, args.out, args, args.lq, batch, head, i0 + i, empty ? 1.0f : 1.0f / row_sum[i]);
      if (args.lse)
        args.lse[(batch * args.heads + head) * args.lq + i0 + i] = empty ? kNone : row_max[i] + std::log(row_sum[i]);
    }
  }
};

}  // namespace

void check_attention(const AttentionArgs& a, const char* name) {
  RL_CHECK(a.batch >= 0 && a.heads >= 0 && a.lq >= 0 && a.lk >= 0, code::kShape, name,
           ": sizes must not be negative, got batch=", a.batch, " heads=", a.heads, " lq=", a.lq, " lk=", a.lk);
  RL_CHECK(a.d >= 1 && a.d <= 512, code::kShape, name, ": expected a head dim of 1 to 512, got ", a.d);
  const bool queries = a.batch * a.heads * a.lq > 0, keys = a.batch * a.heads * a.lk > 0;
  RL_CHECK((!queries || (a.q && a.out)) && (!keys || (a.k && a.v)), code::kShape, name, ": an array is a null pointer");
}

void store_rows(const float* rows, int64_t count, int64_t d, void* base, const AttentionArgs& args, int64_t length,
                int64_t batch, int64_t head, int64_t first, float factor) {
  const int64_t stride = args.heads * d, at = (batch * length + first) * stride + head * d;
  const bool half = args.type == ElementType::bf16;
  void* out = half ? static_cast<void*>(static_cast<bf16*>(base) + at) : static_cast<float*>(base) + at;
  vec_kernels().gemm_epilogue(count, d, rows, d, out, half, stride, factor, nullptr, Activation::none, false);
}

void attention_forward(const AttentionArgs& args) {
  check_attention(args, "attention");
  const int64_t heads = args.batch * args.heads;
  if (heads == 0 || args.lq == 0) return;
  const Forward forward(args);
  ThreadPool& pool = ThreadPool::instance();
  const int64_t key_blocks = forward.key_blocks(), query_blocks = forward.query_blocks();
  const double work = 4.0 * static_cast<double>(args.lq) * static_cast<double>(args.lk) * static_cast<double>(args.d);
  if (heads >= 2 * pool.size() || heads * work < 4e5) {
    const auto grain = static_cast<int64_t>(std::min(1e6, 4e5 / (work + 1))) + 1;
    pool.parallel_for(heads, grain, [&](int64_t begin, int64_t end) {
      char* space = static_cast<char*>(packed_keys.reserve(forward.head_bytes() + 64));
      for (int64_t index = begin; index < end; ++index) {
        const int64_t batch = index / args.heads, head = index % args.heads;
        for (int64_t block = 0; block < key_blocks; ++block) forward.pack_keys(space, batch, head, block);
        for (int64_t block = 0; block < query_blocks; ++block) forward.run(space, batch, head, block);
      }
    });
    return;
  }
  // Few heads: all threads on the same ones.
  const int64_t head_bytes = forward.head_bytes();
  const int64_t group = std::clamp<int64_t>(kPackedBytes / std::max<int64_t>(1, head_bytes), 1, heads);
  char* space = static_cast<char*>(packed_keys.reserve(group * head_bytes + 64));
  for (int64_t first = 0; first < heads; first += group) {
    const int64_t count = std::min(group, heads - first);
    pool.parallel_for(count * key_blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t index = first + item / key_blocks;
        forward.pack_keys(space + item / key_blocks * head_bytes, index / args.heads, index % args.heads,
                          item % key_blocks);
      }
    });
    pool.parallel_for(count * query_blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t index = first + item / query_blocks;
        forward.run(space + item / query_blocks * head_bytes, index / args.heads, index % args.heads,
                    item % query_blocks);
      }
    });
  }
}

}  // namespace rl::cpu
