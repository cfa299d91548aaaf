// Attention, backward: P is recomputed tile by tile from the saved lse, and with D_i = dO_i . O_i
//   dV += P^T dO     dS = P (dO V^T - D)     dQ += scale dS K     dK += scale dS^T Q     dbias += dS.
//
// Many heads: a task is a head, each tile is computed once. Few heads: tasks are key blocks (dK, dV), then query blocks
// (dQ), and tiles are computed twice. Both add every gradient in the same order, so they give the same bits.
#include <cstring>

#include "native/backend/cpu/attention.h"
#include "native/backend/cpu/attention_blocks.h"
#include "native/backend/cpu/vec_kernels.h"
#include "native/core/error.h"
#include "native/core/thread_pool.h"

namespace rl::cpu {
namespace {

thread_local Workspace head_space, tile_space, row_space;

int64_t align(int64_t bytes) { return (bytes + 63) / 64 * 64; }

struct Backward {
  const AttentionGradArgs& g;
  const AttentionArgs& args;
  const TileKernel& kernel;
  const VecKernels& vec;
  bool round_bf16;
  int64_t q_block, k_block;

  explicit Backward(const AttentionGradArgs& grad)
      : g(grad),
        args(grad.f),
        kernel(args.compute == Compute::bf16 ? gemm_kernels().bf16 : gemm_kernels().f32),
        vec(vec_kernels()),
        round_bf16(args.compute == Compute::bf16),
        q_block(kernel.mr * std::max<int64_t>(1, 64 / kernel.mr)),
        k_block(args.d <= 128 ? 128 : 64) {}

  int64_t query_blocks() const { return blocks_of(args.lq, q_block); }
  int64_t key_blocks() const { return blocks_of(args.lk, k_block); }
  int64_t rows_of(int64_t block) const { return std::min(q_block, args.lq - block * q_block); }
  int64_t columns_of(int64_t block) const { return std::min(k_block, args.lk - block * k_block); }
  // A causal tile all of whose keys come after its queries.
  bool skipped(int64_t qi, int64_t kj) const { return args.causal && kj * k_block > qi * q_block + rows_of(qi) - 1; }

  // Everything the tiles of one head read, packed once.
  struct Head {
    int64_t batch, head;
    char *q_a, *do_a;    // rows of Q, dO as left operands
    char *q_b, *do_b;    // the same as right operands [rows, d]
    char *k_t, *v_t;     // K^T, V^T as right operands [d, keys]
    char* k_b;           // K as right operand [keys, d]
    float* delta;        // D
    int64_t a_step, b_step, t_step, k_step;  // bytes per block
  };

  int64_t head_bytes() const {
    return query_blocks() * 2 * (align(packed_bytes(kernel, true, q_block, args.d)) +
                                 align(packed_bytes(kernel, false, args.d, q_block))) +
           key_blocks() * (2 * align(packed_bytes(kernel, false, k_block, args.d)) +
                           align(packed_bytes(kernel, false, args.d, k_block))) +
           align(args.lq * 4) + 64;
  }

  Head layout(char* space, int64_t batch, int64_t head) const {
    Head h;
    h.batch = batch, h.head = head;
    h.a_step = align(packed_bytes(kernel, true, q_block, args.d));
    h.b_step = align(packed_bytes(kernel, false, args.d, q_block));
    h.t_step = align(packed_bytes(kernel, false, k_block, args.d));
    h.k_step = align(packed_bytes(kernel, false, args.d, k_block));
    h.q_a = space;
    h.do_a = h.q_a + query_blocks() * h.a_step;
    h.q_b = h.do_a + query_blocks() * h.a_step;
    h.do_b = h.q_b + query_blocks() * h.b_step;
    h.k_t = h.do_b + query_blocks() * h.b_step;
    h.v_t = h.k_t + key_blocks() * h.t_step;
    h.k_b = h.v_t + key_blocks() * h.t_step;
    h.delta = reinterpret_cast<float*>(h.k_b + key_blocks() * h.k_step);
    return h;
  }

  void prepare_queries(const Head& h, int64_t block) const {
    const int64_t i0 = block * q_block, rows = rows_of(block), d = args.d;
    const HeadRows q(args.q, args, args.lq, h.batch, h.head), dout(g.dout, args, args.lq, h.batch, h.head);
    const HeadRows out(args.out, args, args.lq, h.batch, h.head);
    pack_operand(kernel, true, h.q_a + block * h.a_step, q.along_d(), i0, rows, 0, d, round_bf16);
    pack_operand(kernel, true, h.do_a + block * h.a_step, dout.along_d(), i0, rows, 0, d, round_bf16);
    pack_operand(kernel, false, h.q_b + block * h.b_step, q.along_rows(), 0, d, i0, rows, round_bf16);
    pack_operand(kernel, false, h.do_b + block * h.b_step, dout.along_rows(), 0, d, i0, rows, round_bf16);
    float* wide = row_space.floats(2 * d);
    for (int64_t i = i0; i < i0 + rows; ++i) {
      if (args.type == ElementType::f32) {
        h.delta[i] = vec.dot(static_cast<const float*>(dout.data) + i * dout.stride,
                             static_cast<const float*>(out.data) + i * out.stride, d);
      } else {
        vec.to_float(static_cast<const bf16*>(dout.data) + i * dout.stride, wide, d);
        vec.to_float(static_cast<const bf16*>(out.data) + i * out.stride, wide + d, d);
        h.delta[i] = vec.dot(wide, wide + d, d);
      }
    }
  }

  void prepare_keys(const Head& h, int64_t block) const {
    const int64_t j0 = block * k_block, columns = columns_of(block), d = args.d;
    const HeadRows k(args.k, args, args.lk, h.batch, h.head), v(args.v, args, args.lk, h.batch, h.head);
    pack_operand(kernel, false, h.k_t + block * h.t_step, k.along_d(), j0, columns, 0, d, round_bf16);
    pack_operand(kernel, false, h.v_t + block * h.t_step, v.along_d(), j0, columns, 0, d, round_bf16);
    pack_operand(kernel, false, h.k_b + block * h.k_step, k.along_rows(), 0, d, j0, columns, round_bf16);
  }

  // Scratch of one thread.
  struct Tile {
    float *p, *ds, *dk, *dv;
    char* space;
  };
  Tile tile() const {
    const int64_t floats = 2 * q_block * k_block + 2 * std::max(k_block, q_block) * args.d;
    const int64_t packed = std::max(packed_bytes(kernel, true, q_block, k_block), packed_bytes(kernel, true, k_block, q_block));
    float* p = static_cast<float*>(tile_space.reserve(floats * 4 + packed + 64));
    Tile t{p, p + q_block * k_block, p + 2 * q_block * k_block, nullptr, nullptr};
    t.dv = t.dk + std::max(k_block, q_block) * args.d;
    t.space = reinterpret_cast<char*>(t.dv + std::max(k_block, q_block) * args.d);
    t.space += (64 - reinterpret_cast<uintptr_t>(t.space) % 64) % 64;
    return t;
  }

  // P and dS of one tile. Masked entries are zero.
  void scores(const Head& h, const Tile& t, int64_t qi, int64_t kj) const {
    const int64_t rows = rows_of(qi), columns = columns_of(kj), i0 = qi * q_block, j0 = kj * k_block;
    multiply_packed(kernel, rows, columns, args.d, h.q_a + qi * h.a_step, h.k_t + kj * h.t_step, t.p, k_block, false);
    multiply_packed(kernel, rows, columns, args.d, h.do_a + qi * h.a_step, h.v_t + kj * h.t_step, t.ds, k_block, false);
    const float* lse = args.lse + (h.batch * args.heads + h.head) * args.lq;
    for (int64_t i = 0; i < rows; ++i) {
      float *p = t.p + i * k_block, *ds = t.ds + i * k_block;
      const int64_t valid = args.causal ? std::clamp<int64_t>(i0 + i - j0 + 1, 0, columns) : columns;
      const float* bias = args.bias ? args.bias + (h.head * args.lq + i0 + i) * args.lk + j0 : nullptr;
      vec.softmax_grad(valid, p, ds, args.scale, bias, lse[i0 + i], h.delta[i0 + i]);
      if (valid < columns) {
        std::memset(p + valid, 0, static_cast<size_t>(columns - valid) * 4);
        std::memset(ds + valid, 0, static_cast<size_t>(columns - valid) * 4);
      }
    }
  }

  void add_keys(const Head& h, const Tile& t, int64_t qi, int64_t kj, bool first) const {
    const int64_t rows = rows_of(qi), columns = columns_of(kj), d = args.d;
    multiply_block(kernel, columns, d, rows, t.p, k_block, true, t.space, round_bf16, h.do_b + qi * h.b_step, t.dv, d,
                   !first);
    multiply_block(kernel, columns, d, rows, t.ds, k_block, true, t.space, round_bf16, h.q_b + qi * h.b_step, t.dk, d,
                   !first);
  }

  void add_queries(const Head& h, const Tile& t, int64_t qi, int64_t kj, float* dq, bool first) const {
    multiply_block(kernel, rows_of(qi), args.d, columns_of(kj), t.ds, k_block, false, t.space, round_bf16,
                   h.k_b + kj * h.k_step, dq, args.d, !first);
  }

  void add_bias(const Head& h, const Tile& t, int64_t qi, int64_t kj) const {
    if (!g.dbias) return;
    for (int64_t i = 0; i < rows_of(qi); ++i)
      vec.axpy(1.0f, t.ds + i * k_block, g.dbias + (h.head * args.lq + qi * q_block + i) * args.lk + kj * k_block,
               columns_of(kj));
  }

  // dK and dV of one key block; also dQ (all rows, f32) if wanted.
  void key_pass(const Head& h, int64_t kj, float* dq) const {
    const Tile t = tile();
    const KernelScope scope(kernel);
    bool first = true;
    for (int64_t qi = 0; qi < query_blocks(); ++qi) {
      if (skipped(qi, kj)) continue;
      scores(h, t, qi, kj);
      add_keys(h, t, qi, kj, first);
      add_bias(h, t, qi, kj);
      if (dq) add_queries(h, t, qi, kj, dq + qi * q_block * args.d, kj == 0);
      first = false;
    }
    const int64_t columns = columns_of(kj);
    if (first) {  // no query sees these keys
      std::memset(t.dk, 0, static_cast<size_t>(columns * args.d) * 4);
      std::memset(t.dv, 0, static_cast<size_t>(columns * args.d) * 4);
    }
    store_rows(t.dk, columns, args.d, g.dk, args, args.lk, h.batch, h.head, kj * k_block, args.scale);
    store_rows(t.dv, columns, args.d, g.dv, args, args.lk, h.batch, h.head, kj * k_block, 1.0f);
  }

  void query_pass(const Head& h, int64_t qi) const {
    const Tile t = tile();
    const KernelScope scope(kernel);
    for (int64_t kj = 0; kj < key_blocks(); ++kj) {
      if (skipped(qi, kj)) continue;
      scores(h, t, qi, kj);
      add_queries(h, t, qi, kj, t.dk, kj == 0);
    }
    if (key_blocks() == 0) std::memset(t.dk, 0, static_cast<size_t>(rows_of(qi) * args.d) * 4);
    store_rows(t.dk, rows_of(qi), args.d, g.dq, args, args.lq, h.batch, h.head, qi * q_block, args.scale);
  }

  void whole_head(int64_t batch, int64_t head) const {
    const int64_t dq_bytes = align(args.lq * args.d * 4);
    char* space = static_cast<char*>(head_space.reserve(head_bytes() + dq_bytes));
    float* dq = reinterpret_cast<float*>(space);
    const Head h = layout(space + dq_bytes, batch, head);
    for (int64_t qi = 0; qi < query_blocks(); ++qi) prepare_queries(h, qi);
    for (int64_t kj = 0; kj < key_blocks(); ++kj) prepare_keys(h, kj);
    for (int64_t kj = 0; kj < key_blocks(); ++kj) key_pass(h, kj, dq);
    if (key_blocks() == 0) std::memset(dq, 0, static_cast<size_t>(args.lq * args.d) * 4);
    store_rows(dq, args.lq, args.d, g.dq, args, args.lq, batch, head, 0, args.scale);
  }
};

}  // namespace

void attention_backward(const AttentionGradArgs& g) {
  const AttentionArgs& args = g.f;
  check_attention(args, "attention backward");
  const int64_t heads = args.batch * args.heads;
  const bool queries = heads * args.lq > 0, keys = heads * args.lk > 0;
  RL_CHECK((!queries || (g.dout && g.dq && args.lse)) && (!keys || (g.dk && g.dv)), code::kShape,
           "attention backward: dout, dq, dk, dv or lse is a null pointer");
  if (g.dbias && args.heads * args.lq * args.lk > 0)
    std::memset(g.dbias, 0, static_cast<size_t>(args.heads * args.lq * args.lk) * 4);
  if (!queries && !keys) return;
  const Backward backward(g);
  ThreadPool& pool = ThreadPool::instance();
  const double work = 10.0 * static_cast<double>(args.lq) * static_cast<double>(args.lk) * static_cast<double>(args.d);
  // dbias is summed over the batch in order, so one task then walks all of it.
  const int64_t tasks = g.dbias ? args.heads : heads, per_task = g.dbias ? args.batch : 1;
  if (tasks >= 2 * pool.size() || heads * work < 4e5) {
    const auto grain = static_cast<int64_t>(std::min(1e6, 4e5 / (work * static_cast<double>(per_task) + 1))) + 1;
    pool.parallel_for(tasks, grain, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        if (g.dbias) {
          for (int64_t batch = 0; batch < args.batch; ++batch) backward.whole_head(batch, task);
        } else {
          backward.whole_head(task / args.heads, task % args.heads);
        }
      }
    });
    return;
  }
  for (int64_t index = 0; index < heads; ++index) {
    char* space = static_cast<char*>(head_space.reserve(backward.head_bytes()));
    const Backward::Head h = backward.layout(space, index / args.heads, index % args.heads);
    const int64_t query_blocks = backward.query_blocks(), key_blocks = backward.key_blocks();
    pool.parallel_for(query_blocks + key_blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        if (item < query_blocks) backward.prepare_queries(h, item);
        else backward.prepare_keys(h, item - query_blocks);
      }
    });
    pool.parallel_for(query_blocks + key_blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        if (item < key_blocks) backward.key_pass(h, item, nullptr);
        else backward.query_pass(h, item - key_blocks);
      }
    });
  }
}

}  // namespace rl::cpu
