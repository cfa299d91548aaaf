#include "native/ops/nn/matmul.h"

#include <algorithm>

#include "native/backend/cpu/gemm.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/nn/column_sums.h"
#include "native/ops/registry.h"
#if RL_WITH_CUDA
#include "native/backend/cuda/gemm.h"
#endif

namespace rl {

namespace {

using cpu::ElementType;
using cpu::GemmArgs;
using cpu::Matrix;

ElementType element_type(DType dtype) { return dtype == DType::bf16 ? ElementType::bf16 : ElementType::f32; }

cpu::Activation activation_from_name(const std::string& name) {
  if (name == "none") return cpu::Activation::none;
  if (name == "gelu_tanh") return cpu::Activation::gelu_tanh;
  if (name == "gelu_erf") return cpu::Activation::gelu_erf;
  if (name == "quick_gelu") return cpu::Activation::quick_gelu;
  if (name == "silu") return cpu::Activation::silu;
  if (name == "relu") return cpu::Activation::relu;
  throw Error(code::kConfig, str("matmul: unknown activation '", name,
                                 "', expected none, gelu_tanh, gelu_erf, quick_gelu, silu or relu"));
}

// op(matrix) of a tensor whose last dimension has `columns` elements.
Matrix matrix(const Tensor& tensor, int64_t columns, bool transposed) {
  return {tensor.data(), element_type(tensor.dtype()), columns, transposed};
}

void launch(Device& device, const char* op, GemmArgs args) {
  if (args.m == 0 || args.n == 0 || args.batch == 0) return;
  const bool bf16_operands = args.a.type == ElementType::bf16 && args.b.type == ElementType::bf16;
  if (bf16_operands || device.matmul_precision == MatmulPrecision::bf16) args.compute = cpu::Compute::bf16;
  RL_LAUNCH(device, op, cpu::gemm(args), gemm_cuda(args, device));
}

// The sizes of a product and how the operands step from one batch item to the next.
struct Product {
  int64_t batch = 1, m = 0, n = 0, k = 0;
  int64_t a_columns = 0, b_columns = 0;  // last dimension as stored
  int64_t a_step = 0, b_step = 0;        // elements; 0 shares the operand
  Shape shape;                           // of the result
};

Product plan(const char* op, const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  check_float(op, "a", a);
  check_float(op, "b", b);
  check_like(op, "b", b, a);
  RL_CHECK(a.rank() >= (transpose_a ? 2 : 1) && b.rank() >= 2, code::kShape, op, ": needs matrices, got a ", a.shape(),
           " and b ", b.shape());
  Product p;
  const int64_t a_rows = a.rank() == 1 ? 1 : a.size(-2), b_rows = b.size(-2);
  p.a_columns = a.size(-1);
  p.b_columns = b.size(-1);
  p.m = transpose_a ? p.a_columns : a_rows;
  p.k = transpose_a ? a_rows : p.a_columns;
  p.n = transpose_b ? b_rows : p.b_columns;
  const int64_t b_k = transpose_b ? p.b_columns : b_rows;
  RL_CHECK(p.k == b_k, code::kShape, op, ": inner sizes differ, ", p.k, " of a ", a.shape(),
           transpose_a ? " transposed" : "", " and ", b_k, " of b ", b.shape(), transpose_b ? " transposed" : "");
  const int a_lead = std::max(0, a.rank() - 2), b_lead = b.rank() - 2;
  bool agree = a_lead == 0 || b_lead == 0 || a_lead == b_lead;
  for (int i = 0; agree && a_lead > 0 && b_lead > 0 && i < a_lead; ++i) agree = a.size(i) == b.size(i);
  RL_CHECK(agree, code::kShape, op, ": leading dimensions differ, a ", a.shape(), " and b ", b.shape(),
           "; they must be equal, or one operand a single matrix");
  const Tensor& leader = a_lead > 0 ? a : b;
  for (int i = 0; i < std::max(a_lead, b_lead); ++i) p.shape.push_back(leader.size(i));
  p.batch = p.shape.numel();
  if (a.rank() > 1) p.shape.push_back(p.m);
  p.shape.push_back(p.n);
  if (b_lead == 0 && !transpose_a) {  // one tall product instead of many
    p.m *= p.batch;
    p.batch = 1;
  }
  p.a_step = a_lead > 0 && p.batch > 1 ? a_rows * p.a_columns : 0;
  p.b_step = b_lead > 0 && p.batch > 1 ? b_rows * p.b_columns : 0;
  return p;
}

// C[m,n] per batch item into `out`, row-major.
GemmArgs product(int64_t batch, int64_t m, int64_t n, int64_t k, const Matrix& a, int64_t a_step, const Matrix& b,
                 int64_t b_step, const Tensor& out) {
  GemmArgs g;
  g.m = m;
  g.n = n;
  g.k = k;
  g.a = a;
  g.b = b;
  g.c = out.data();
  g.c_type = element_type(out.dtype());
  g.c_row_stride = n;
  g.batch = batch;
  g.a_batch_stride = a_step;
  g.b_batch_stride = b_step;
  g.c_batch_stride = m * n;
  return g;
}

// A gradient of the shape of `operand`: in place, or per batch item in f32 and then summed when all items share it.
Tensor gradient(const char* op, const Tensor& operand, bool shared, const GemmArgs& args) {
  Device& device = operand.device();
  Tensor out = Tensor::empty(device, operand.shape(), operand.dtype());
  GemmArgs g = args;
  if (!shared) {
    g.c = out.data();
    g.c_type = element_type(out.dtype());
    launch(device, op, g);
    return out;
  }
  const int64_t batch = args.batch, size = operand.numel();
  const Tensor partial = Tensor::empty(device, {batch, size});
  g.c = partial.data();
  g.c_type = ElementType::f32;
  launch(device, op, g);
  const float* from = partial.as<float>();
  void* to = out.data();
  const DType dtype = operand.dtype();
  RL_LAUNCH(device, op, sum_chunks_cpu(from, to, 1, batch, size, dtype),
            sum_chunks_cuda(from, to, 1, batch, size, dtype, cuda_stream(device)));
  return out;
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, const Tensor& bias, bool transpose_a, bool transpose_b,
              const std::string& activation) {
  const Product p = plan("matmul", a, b, transpose_a, transpose_b);
  if (bias) check_shape("matmul", "bias", bias, {p.n}, a);
  check_like("matmul", "bias", bias, a);
  Tensor y = Tensor::empty(a.device(), p.shape, a.dtype());
  GemmArgs g = product(p.batch, p.m, p.n, p.k, matrix(a, p.a_columns, transpose_a), p.a_step,
                       matrix(b, p.b_columns, transpose_b), p.b_step, y);
  g.bias = bias.data();
  g.bias_type = element_type(a.dtype());
  g.activation = activation_from_name(activation);
  launch(a.device(), "matmul", g);
  return y;
}

std::vector<Tensor> matmul_bwd(const Tensor& dy, const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b,
                               bool need_da, bool need_db) {
  const Product p = plan("matmul_bwd", a, b, transpose_a, transpose_b);
  check_shape("matmul_bwd", "dy", dy, p.shape, a);
  check_like("matmul_bwd", "dy", dy, a);
  const int64_t dy_step = p.batch > 1 ? p.m * p.n : 0;
  Tensor da, db;
  if (need_da) {  // dA = dC Bᵀ; of a stored transposed, its transpose B dCᵀ
    const GemmArgs g = transpose_a ? product(p.batch, p.k, p.m, p.n, matrix(b, p.b_columns, transpose_b), p.b_step,
                                             matrix(dy, p.n, true), dy_step, a)
                                   : product(p.batch, p.m, p.k, p.n, matrix(dy, p.n, false), dy_step,
                                             matrix(b, p.b_columns, !transpose_b), p.b_step, a);
    da = gradient("matmul_bwd", a, p.batch != 1 && a.rank() <= 2, g);
  }
  if (need_db) {  // dB = Aᵀ dC; of b stored transposed, its transpose dCᵀ A
    const GemmArgs g = transpose_b ? product(p.batch, p.n, p.k, p.m, matrix(dy, p.n, true), dy_step,
                                             matrix(a, p.a_columns, transpose_a), p.a_step, b)
                                   : product(p.batch, p.k, p.n, p.m, matrix(a, p.a_columns, !transpose_a), p.a_step,
                                             matrix(dy, p.n, false), dy_step, b);
    db = gradient("matmul_bwd", b, p.batch != 1 && b.rank() == 2, g);
  }
  return {da, db};
}

std::vector<Tensor> linear_bwd(const Tensor& dy, const Tensor& x, const Tensor& weight, bool need_dx, bool need_dweight,
                               bool need_dbias) {
  check_float("linear_bwd", "dy", dy);
  RL_CHECK(dy.rank() >= 1, code::kShape, "linear_bwd: dy must have at least one dimension");
  Device& device = dy.device();
  const int64_t outputs = dy.size(-1), rows = dy.shape().numel(0, dy.rank() - 1);
  Tensor dx, dweight, dbias;
  if (need_dx) {
    check_rank("linear_bwd", "weight", weight, 2);
    check_shape("linear_bwd", "weight", weight, {outputs, weight.size(1)}, dy);
    check_like("linear_bwd", "weight", weight, dy);
    const int64_t inputs = weight.size(1);
    Shape shape = dy.shape();
    shape[-1] = inputs;
    dx = Tensor::empty(device, shape, dy.dtype());
    launch(device, "linear_bwd", product(1, rows, inputs, outputs, matrix(dy, outputs, false), 0, matrix(weight, inputs, false), 0, dx));
  }
  if (need_dweight) {
    check_defined("linear_bwd", "x", x);
    check_like("linear_bwd", "x", x, dy);
    Shape expected = dy.shape();
    expected[-1] = x.rank() > 0 ? x.size(-1) : 0;
    check_shape("linear_bwd", "x", x, expected, dy);
    const int64_t inputs = x.size(-1);
    dweight = Tensor::empty(device, {outputs, inputs}, dy.dtype());
    launch(device, "linear_bwd", product(1, outputs, inputs, rows, matrix(dy, outputs, true), 0, matrix(x, inputs, false), 0, dweight));
  }
  if (need_dbias) {
    dbias = Tensor::empty(device, {outputs}, dy.dtype());
    const Tensor partial = Tensor::empty(device, {chunks_of(rows), outputs});
    const void* from = dy.data();
    float* scratch = partial.as<float>();
    void* to = dbias.data();
    const DType dtype = dy.dtype();
    RL_LAUNCH(device, "linear_bwd", column_sums_cpu(from, scratch, to, rows, outputs, dtype),
              column_sums_cuda(from, scratch, to, rows, outputs, dtype, cuda_stream(device)));
  }
  return {dx, dweight, dbias};
}

RL_OP(matmul);
RL_OP(matmul_bwd);
RL_OP(linear_bwd);

}  // namespace rl
